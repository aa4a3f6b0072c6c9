"""The 468 points of MediaPipe's face mesh on the drawn head, as the camera sees it from the front.

The mean mesh is the symmetric median of 211 frontal meshes with closed mouths (faces of SFHQ-T2I), adjusted so that
lips, lids, brows, nose and outline lie on those of `emo.synthetic.sample_portrait`.

Lengths are those of `emo.synthetic.sample_lighting`.
"""

import numpy as np

from emo.synthetic.sample_lighting import Canvas
from emo.synthetic.sample_portrait import get_lid_lines, get_mouth_lines
from emo.synthetic.warped_photos import EYES, INNER_LIPS

LEFT_LID, RIGHT_LID = EYES[:16], EYES[16:]
LOWER_POINTS, UPPER_POINTS = slice(1, 8), slice(9, None)  # of a lid's points, without the corners
MOUTH_CORNERS = INNER_LIPS[0], INNER_LIPS[10]
OUTER_MOUTH_CORNERS = 61, 291
MOUTH_HALF_WIDTH = 0.39  # from the middle to an inner corner

# x,y of each point in hundredths of a length
MEAN_MESH_HUNDREDTHS = """
    -1,99 0,66 0,74 -7,32 0,56 0,42 0,6 -67,2 0,-21 0,-33 0,-95 0,105 0,109 0,110 0,110 0,114 -1,119 -1,125 -1,132
    0,70 -7,68 -96,-52 -40,12 -49,13 -58,12 -70,5 -32,9 -52,-15 -42,-15 -61,-14 -68,-11 -76,10 -37,146 -71,-1 -98,-6
    -85,-1 -42,51 -13,96 -11,108 -25,99 -32,101 -20,106 -27,106 -44,112 -6,65 -7,55 -78,-23 -27,28 -24,58 -25,53
    -70,48 -7,43 -53,-30 -67,-28 -90,-69 -19,-21 -34,-12 -50,103 -90,88 -17,63 -11,67 -40,103 -37,104 -72,-36 -23,61
    -37,-27 -35,-34 -54,-91 -81,-53 -43,-62 -84,-30 -90,-40 -12,103 -23,104 -30,105 -15,65 -38,104 -36,107 -37,104
    -13,62 -25,106 -18,107 -10,109 -14,131 -13,122 -12,117 -12,112 -11,109 -27,106 -29,107 -31,110 -32,113 -37,87
    -97,36 0,71 -32,105 -33,106 -9,72 -19,66 -10,70 -35,33 -49,39 -26,56 -77,-82 -65,-61 -53,-39 -37,119 -21,-32
    -23,-62 -29,-94 -65,10 -84,14 -28,6 -76,-9 -21,22 -19,55 -92,17 -78,23 -66,29 -49,29 -37,25 -28,21 -9,9 -90,39
    -82,-13 -4,69 -25,38 -99,-10 -21,16 -27,56 -73,-1 -20,49 -94,61 -28,2 -14,45 -75,119 -74,128 -98,37 -84,103
    -94,-25 -38,157 -3,71 -31,44 -91,-2 -58,7 -49,7 -37,108 -88,59 -23,172 -49,155 -62,143 0,-61 0,174 -42,6 -35,4
    -30,3 -88,-18 -37,-8 -45,-11 -53,-11 -61,-9 -66,-6 -98,-33 -63,5 0,81 -28,82 -17,62 -11,81 0,-12 -64,133 -52,145
    -23,166 -83,111 -31,-3 -15,26 0,168 -36,165 -94,61 -20,107 -21,109 -23,113 -24,118 -26,126 -33,105 -37,104
    -38,102 -45,94 -76,67 -15,15 -20,-6 -27,-5 -31,106 -79,91 -12,-7 -32,136 0,31 -9,21 0,19 -19,41 0,157 0,143
    -17,142 -53,116 -34,63 -44,127 -56,61 -44,73 -65,76 -21,155 -23,45 -61,123 -49,135 -59,103 -86,77 -70,104 -91,82
    -53,86 -20,32 -16,60 -20,61 -13,55 -27,-14 -41,-19 -52,-20 -63,-19 -71,-16 -78,0 -99,15 -71,15 -61,20 -49,20
    -38,18 -30,15 -24,11 -98,12 -20,63 -14,36 -11,62 -7,67 -11,63 -17,65 -6,68 -5,70 -25,3 -19,5 -16,7 -69,-4 -72,-7
    8,32 67,2 7,68 96,-52 40,12 49,13 58,12 70,5 32,9 52,-15 42,-15 61,-14 67,-11 76,10 36,147 71,-1 98,-6 85,-1
    42,51 12,96 10,108 24,99 31,100 19,106 27,106 43,112 6,65 7,55 78,-23 27,28 24,58 25,53 70,48 8,43 53,-30 67,-28
    91,-69 19,-21 34,-12 50,103 90,88 17,63 11,67 40,103 38,104 72,-36 23,61 37,-27 35,-34 54,-91 81,-53 43,-62
    84,-30 90,-40 11,104 22,104 30,105 15,65 39,103 35,107 37,104 13,62 25,107 17,107 9,109 13,132 12,122 11,117
    11,112 10,109 26,106 28,108 30,110 31,114 36,87 97,36 32,105 33,106 9,72 19,66 10,70 35,33 49,39 26,56 77,-82
    65,-61 53,-39 35,120 21,-32 23,-62 30,-94 65,10 84,14 28,6 76,-9 21,22 19,55 92,17 78,23 66,29 49,29 37,25 28,21
    9,9 90,39 82,-13 4,69 25,38 99,-10 21,16 27,56 73,-1 21,49 94,61 28,2 14,45 75,119 74,128 98,37 84,103 94,-25
    38,157 3,71 31,44 91,-2 58,7 49,7 36,109 88,59 23,172 49,155 62,143 42,6 35,4 30,3 88,-18 37,-8 45,-11 53,-11
    61,-9 66,-6 98,-33 63,5 27,82 17,62 11,81 64,133 52,145 23,166 83,111 31,-3 15,26 36,165 94,61 19,107 20,110
    22,114 22,119 25,126 33,105 36,104 37,102 44,94 76,67 15,15 20,-6 27,-5 31,106 79,91 12,-7 31,136 9,21 19,41
    16,143 53,116 34,63 43,127 56,61 44,73 65,76 20,156 24,45 61,123 49,135 59,103 86,77 70,104 91,82 53,86 20,32
    16,60 20,61 13,55 27,-14 41,-19 52,-20 63,-19 71,-16 78,0 99,15 71,15 61,20 49,20 38,18 30,15 24,11 98,12 20,63
    14,36 11,62 7,67 11,63 17,65 6,68 5,70 25,3 19,5 16,7 69,-4 72,-7
"""


def load_mean_mesh() -> np.ndarray:
    """Return the mean mesh (468 2)."""
    return np.array([pair.split(",") for pair in MEAN_MESH_HUNDREDTHS.split()], float) / 100


def make_closed_mesh(eye_closure: float) -> tuple[np.ndarray, np.ndarray]:
    """Make the mesh of the mean face with its mouth closed.

    Args:
        eye_closure: Closure of the lids: 0 open, 1 closed, negative wide open.

    Returns:
        Points (468 2), and the lip that each belongs to (468,): -1 the upper one and all above it, 1 the lower one and
        all below it, 0 the corners of the mouth.
    """
    points = load_mean_mesh()
    points[list(MOUTH_CORNERS), 0] = -MOUTH_HALF_WIDTH, MOUTH_HALF_WIDTH
    canvas = Canvas(points[:, 0], points[:, 1], None)
    seam, lids = get_mouth_lines(canvas)[1], get_lid_lines(canvas, eye_closure)
    points[INNER_LIPS, 1] = seam[INNER_LIPS]
    for eye in (LEFT_LID, RIGHT_LID):
        for line, chosen in [(lids[1], eye[LOWER_POINTS]), (lids[0], eye[UPPER_POINTS])]:
            points[chosen, 1] = line[chosen]
    lip = np.where(points[:, 1] > seam, 1, -1)
    lip[INNER_LIPS[1:10]], lip[INNER_LIPS[11:]] = -1, 1
    lip[[*MOUTH_CORNERS, *OUTER_MOUTH_CORNERS]] = 0
    return points, lip
