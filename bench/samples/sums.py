"""Three ways to add numbers: in Python, in C, and in C that makes lists first."""
import random


def in_python(numbers):
    total = 0.0
    for number in numbers:
        total += number * number
    return total


def in_c(numbers):
    return sum(sorted(numbers))


def with_lists(numbers):
    return sum([number * 2 for number in numbers] + [number * 3 for number in numbers])


def main():
    numbers = [random.random() for _ in range(300000)]
    for _ in range(8):
        in_python(numbers)
        in_c(numbers)
        with_lists(numbers)
    print('done')


main()
