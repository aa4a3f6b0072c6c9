#!/bin/sh
# Makes OUT/gallery.html: every portrait with every sound, playable, each with its figures. With a third list, also
# OUT/hard/gallery.html: pictures that are hard to animate, made from those, with the first sound. Existing videos are
# kept, so the same command continues; pictures that are refused are listed in refused.txt beside the page.
# scripts/gallery.sh OUT PORTRAIT... -- SOUND... [-- PICTURE...]
# INFER="--model FOLDER --duration 4": options of emo-infer; REFERENCE=FOLDER: real videos; WORKERS: processes
set -e
here=$(dirname "$0")
out=${1:?name a folder, then portraits -- sounds}
shift
mkdir -p "$out"
: >"$out/portraits.txt"
: >"$out/sounds.txt"
: >"$out/pictures.txt"
list=portraits
for file in "$@"; do
    case $list-$file in
        portraits---) list=sounds ;;
        sounds---) list=pictures ;;
        *) printf '%s\n' "$file" >>"$out/$list.txt" ;;
    esac
done
[ -s "$out/portraits.txt" ] && [ -s "$out/sounds.txt" ] || {
    echo "gallery.sh: give portraits, then --, then sounds" >&2
    exit 2
}

make_page() { # FOLDER LIST_OF_PORTRAITS LIST_OF_SOUNDS
    mkdir -p "$1/videos" "$1/portraits"
    : >"$1/refused.txt"
    while IFS= read -r portrait; do
        name=$(basename "${portrait%.*}")
        cp "$portrait" "$1/portraits/"
        while IFS= read -r sound; do
            video="$1/videos/${name}__$(basename "${sound%.*}").mp4"
            # shellcheck disable=SC2086 # INFER holds several words
            [ -e "$video" ] || emo infer "$portrait" "$sound" -o "$video" ${INFER-} </dev/null 2>"$1/error.txt" || {
                echo "$name: $(tail -n 1 "$1/error.txt")" | tee -a "$1/refused.txt"
                rm -f "$1/portraits/$(basename "$portrait")"
                break
            }
        done <"$3"
    done <"$2"
    rm -f "$1/error.txt"
    emo eval "$1/videos" -o "$1" --portraits "$1/portraits" --workers "${WORKERS:-1}" \
        ${REFERENCE:+--reference "$REFERENCE"}
}

make_page "$out" "$out/portraits.txt" "$out/sounds.txt"
if [ -s "$out/pictures.txt" ]; then
    mkdir -p "$out/hard"
    tr '\n' '\0' <"$out/pictures.txt" | xargs -0 python "$here/../benchmarks/hard_cases.py" "$out/hard/pictures"
    find "$out/hard/pictures" -type f | sort >"$out/hard/pictures.txt"
    head -n 1 "$out/sounds.txt" >"$out/hard/sound.txt"
    make_page "$out/hard" "$out/hard/pictures.txt" "$out/hard/sound.txt"
fi
