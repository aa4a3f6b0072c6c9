"""Random sentences in several languages, with numbers, questions and exclamations.

English ones come from a small grammar, others from a list; all were written for this package. Languages are named as
eSpeak NG names them.
"""

import numpy as np

ENGLISH = {
    "sentence": [
        "{subject} {verb} {object}.", "{subject} {verb} {object} {when}.", "{when_first}, {subject} {verb} {object}.",
        "{opener}, {subject} {verb} {object}.", "Did {subject} really see {object} {when}?", "{wh} {question_rest}?",
        "{exclamation}!", "{exclamation}! {subject} {verb} {object}.", "My number is {phone}.",
        "It was {year}, I think.", "The {thing} costs {price}, and the other one {price}.",
        "{first}, {second}, {third}: that's all we need.", "If {subject} {verb} {object}, who will bring {object}?",
        "Please put {object} {where}.", "It's {clock} now.",
        "{name} and {name} met {where} {when}, but nobody told me.",
        "About {percent} percent of them were {adjective}.", "I would like {number} {plural}, please.",
        "You know, {subject} never {verb} {object} before.",
    ],
    "subject": [
        "my brother", "the whole village", "Barbara", "nobody", "the old captain", "my best friend", "a young man",
        "the boss", "our neighbour", "everybody", "Philip", "the woman from upstairs", "a famous painter",
        "this machine", "the baby",
    ],
    "verb": [
        "bought", "painted", "forgot", "brought back", "photographed", "pushed", "moved", "found", "hid", "repaired",
        "washed", "wanted", "asked for", "talked about", "threw away", "measured", "cooked", "promised",
        "wrote about", "dreamed of",
    ],
    "object": [
        "a big blue box", "the broken umbrella", "five apples", "the map of the mountains", "an enormous pumpkin",
        "my bicycle", "the evening paper", "a pot of hot soup", "the shiny shoes", "thirty-two letters",
        "a very small problem", "the piano in the basement", "warm bread and butter", "the wrong phone",
        "a view of the harbour", "some chewing gum", "the green vase", "a jar of honey", "the first chapter",
        "something beautiful",
    ],
    "when": [
        "yesterday", "in the middle of the night", "before breakfast", "last February", "on Monday morning",
        "years ago", "just in time", "after the film", "every summer", "at half past seven",
    ],
    "when_first": ["Yesterday", "Before the storm", "Last week", "In the beginning", "After lunch", "Once upon a time"],
    "opener": ["Well", "Honestly", "Of course", "By the way", "As far as I know", "Hmm", "Believe me", "Oh"],
    "wh": ["Why", "Where", "When", "How", "With whom"],
    "question_rest": [
        "would you go next", "did the boat leave", "do we open this box", "can they sleep so long",
        "have you been all week", "should I put the flowers", "shall we begin",
    ],
    "exclamation": [
        "What a wonderful surprise", "Oh no, not again", "Watch out", "That's impossible", "Bravo",
        "I can't believe it", "Stop right there", "Happy birthday", "Move over", "Yes, yes, yes",
    ],
    "thing": ["lamp", "ticket", "blue shirt", "film", "boat", "watch", "camera", "cheese"],
    "plural": ["tomatoes", "stamps", "cups of coffee", "envelopes", "mushrooms", "boxes of matches", "cookies"],
    "where": [
        "behind the house", "on the top shelf", "by the river", "under the bridge", "in a museum", "near the bus stop",
    ],
    "name": ["Emma", "Bob", "Pamela", "Matthew", "Fatima", "Joe", "Wolfgang", "Maya", "Sophie", "Oliver"],
    "adjective": ["broken", "purple", "missing", "perfect", "frozen", "amazing", "much too expensive"],
    "first": ["Bread", "Paper", "A hammer", "Vegetables", "Money"],
    "second": ["milk", "pencils", "some rope", "fish", "patience"],
    "third": ["and oil", "and a map", "and a bit of luck", "and fresh pepper", "and time"],
}  # fmt: skip
OTHERS = {
    "es": [
        "Buenos días, me llamo Pablo y vivo en Bilbao.", "¿A qué hora sale el próximo autobús?",
        "Mi abuela prepara una sopa muy buena.", "¡Qué sorpresa verte por aquí!",
        "Mañana compramos {number} kilos de manzanas.", "El puente viejo fue construido hace {number} años.",
        "No me importa esperar un momento.", "¿Puedes bajar un poco el volumen, por favor?",
        "Nunca he visto una luna tan grande.", "La biblioteca abre a las nueve y media.",
        "Me gustaría hablar con la profesora.", "Vamos a probar el vino blanco.",
    ],
    "fr": [
        "Bonjour, je m'appelle Philippe et j'habite à Bordeaux.", "Où est la gare, s'il vous plaît ?",
        "Ma mère prépare une bonne soupe aux poireaux.", "Quelle belle surprise !",
        "Nous avons besoin de {number} pommes pour la tarte.", "Le train part à huit heures et demie.",
        "Je voudrais un peu plus de pain.", "Tu peux baisser le son ?",
        "Il pleut beaucoup depuis le mois de février.", "Le musée ferme dans {number} minutes.",
        "Personne ne m'a prévenu.", "C'était vraiment un film formidable.",
    ],
    "it": [
        "Buongiorno, mi chiamo Beppe e abito a Palermo.", "Dov'è la fermata dell'autobus?",
        "Mia nonna prepara un'ottima zuppa.", "Che bella sorpresa!", "Abbiamo bisogno di {number} uova.",
        "Il ponte vecchio fu costruito secoli fa.", "Vorrei un bicchiere d'acqua, per favore.",
        "Puoi abbassare il volume?", "Domani partiamo per la montagna.", "Il museo chiude fra {number} minuti.",
        "Nessuno mi ha avvisato.", "Proviamo il formaggio di capra.",
    ],
    "pt-br": [
        "Bom dia, meu nome é Paulo e moro em Manaus.", "Onde fica o ponto de ônibus?",
        "Minha avó prepara uma sopa muito boa.", "Que bela surpresa!", "Precisamos de {number} bananas para o bolo.",
        "A ponte velha foi construída há muito tempo.", "Eu gostaria de um copo de água, por favor.",
        "Você pode baixar o volume?", "Amanhã vamos à praia bem cedo.", "O museu fecha em {number} minutos.",
        "Ninguém me avisou.", "Vamos provar a moqueca de peixe.",
    ],
    "hi": [
        "नमस्ते, मेरा नाम प्रकाश है।", "बस कब आएगी?", "मेरी माँ बहुत अच्छा खाना बनाती है।",
        "वाह, कितनी सुंदर जगह है!", "मुझे {number} आम चाहिए।", "पुराना पुल बहुत मज़बूत है।",
        "कृपया थोड़ा पानी दीजिए।", "आवाज़ कम कर दो।", "कल हम पहाड़ पर जाएँगे।", "मुझे किसी ने नहीं बताया।",
    ],
    "ja": [
        "こんにちは、わたしの なまえは まゆみ です。", "つぎの バスは なんじに きますか。",
        "ははは とても おいしい みそしるを つくります。", "わあ、びっくり しました。", "たまごを みっつ ください。",
        "ふるい はしが かわに あります。", "もうすこし ゆっくり はなして ください。", "あした やまに のぼります。",
        "ぼくは ピアノが すきです。", "まどを あけても いいですか。",
    ],
    "cmn": [
        "你好，我叫王明。", "下一班公共汽车什么时候来？", "我妈妈做的汤很好喝。", "啊，太漂亮了！",
        "我要{number}个苹果。", "那座老桥很有名。", "请给我一杯水。", "明天我们去爬山。", "没有人告诉我。",
        "你可以说慢一点吗？",
    ],
    "de": [
        "Guten Morgen, ich heiße Bernd und wohne in Bamberg.", "Wann fährt der nächste Bus?",
        "Meine Oma kocht eine prima Suppe.", "Was für eine Überraschung!",
        "Wir brauchen noch {number} Äpfel für den Kuchen.", "Die alte Brücke wurde vor {number} Jahren gebaut.",
        "Ich möchte bitte ein Glas Wasser.", "Kannst du das leiser machen?", "Morgen fahren wir früh in die Berge.",
        "Niemand hat mir Bescheid gesagt.", "Das war wirklich ein wunderbarer Film.", "Probier mal den Ziegenkäse!",
    ],
    "pl": [
        "Dzień dobry, mam na imię Piotr.", "Kiedy przyjedzie następny autobus?", "Moja babcia gotuje pyszną zupę.",
        "Co za niespodzianka!", "Potrzebujemy {number} jabłek.", "Proszę o szklankę wody.", "Jutro jedziemy w góry.",
        "Nikt mi nie powiedział.",
    ],
    "sv": [
        "God morgon, jag heter Björn.", "När går nästa buss?", "Min mormor lagar en mycket god soppa.",
        "Vilken överraskning!", "Vi behöver {number} äpplen till kakan.", "Jag skulle vilja ha ett glas vatten.",
        "I morgon åker vi till fjällen.", "Ingen har sagt något.",
    ],
    "tr": [
        "Günaydın, benim adım Burak.", "Bir sonraki otobüs ne zaman gelecek?", "Annem çok güzel çorba yapar.",
        "Ne güzel bir sürpriz!", "Pasta için {number} elma lazım.", "Bir bardak su rica ediyorum.",
        "Yarın dağa gidiyoruz.", "Kimse bana haber vermedi.",
    ],
}  # fmt: skip
ENGLISH_LANGUAGES = ("en-us", "en")
LANGUAGES = (*ENGLISH_LANGUAGES, *OTHERS)


def make_phrase(rule: str, random: np.random.Generator) -> str:
    """Expand an English rule or make a number of some kind.

    Args:
        rule: A key of ENGLISH, or number, year, percent, price, clock, phone.
        random: Chooses.

    Returns:
        The phrase.
    """
    if rule == "number":
        return str(random.integers(2, 400) if random.random() < 0.5 else random.integers(2, 20))
    if rule == "year":
        return str(random.integers(1750, 2040))
    if rule == "percent":
        return f"{random.integers(1, 99)}.{random.integers(0, 10)}"
    if rule == "price":
        return f"${random.integers(1, 90)}.{random.integers(10, 99)}"
    if rule == "clock":
        return f"{random.integers(1, 13)}:{random.integers(10, 60)}"
    if rule == "phone":
        return " ".join(str(digit) for digit in random.integers(0, 10, 7))
    return fill_slots(str(random.choice(ENGLISH[rule])), random)


def fill_slots(pattern: str, random: np.random.Generator) -> str:
    """Replace each {rule} of a pattern by a phrase, from left to right.

    Args:
        pattern: A sentence with slots.
        random: Chooses the phrases.

    Returns:
        The sentence.
    """
    while "{" in pattern:
        start, end = pattern.index("{"), pattern.index("}")
        pattern = pattern[:start] + make_phrase(pattern[start + 1 : end], random) + pattern[end + 1 :]
    return pattern


def make_sentence(language: str, random: np.random.Generator) -> str:
    """Make a sentence.

    Args:
        language: One of LANGUAGES.
        random: Chooses pattern and words.

    Returns:
        The sentence, with a capital first letter.
    """
    patterns = ENGLISH["sentence"] if language in ENGLISH_LANGUAGES else OTHERS[language]
    sentence = fill_slots(str(random.choice(patterns)), random)
    return sentence[:1].upper() + sentence[1:]


def make_text(language: str, random: np.random.Generator, seconds: float, letters_per_second: float = 13.0) -> str:
    """Make a text of at least one sentence.

    Args:
        language: One of LANGUAGES.
        random: Chooses.
        seconds: About how long it takes to say.
        letters_per_second: Speaking rate, of alphabetic scripts.

    Returns:
        One or more sentences.
    """
    per_second = letters_per_second / 3 if language in ("cmn", "ja") else letters_per_second
    text = make_sentence(language, random)
    while len(text) < 0.75 * seconds * per_second:
        text = f"{text} {make_sentence(language, random)}"
    return text
