"""A campaign against the project: it kills, corrupts, fills disks, races and attacks, and counts what was lost.

python tests/campaign                              every part, in full
python tests/campaign kill flip --seed 1           two of them
python tests/campaign --scale short --out table.md
"""
