"""A module that computes large tables when it is imported: see slow_imports.py. SECONDS stands for their size."""
import time

SECONDS = 1.5
SINES = []
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    del SINES[:]
    for step in range(1000):
        angle = step * 3.14159265 / 2000
        SINES.append(angle - angle ** 3 / 6 + angle ** 5 / 120)
