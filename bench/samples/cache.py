"""A table that is made twice, a cache that never forgets, and strings that nobody keeps."""
CACHE = {}


def table(size):
    return [[row * column for column in range(size)] for row in range(size)]


def remember(number):
    CACHE[number] = bytes(3000)
    return CACHE[number]


def churn(rounds):
    return sum(len(str(number) * 20) for number in range(rounds))


def main():
    total = 0
    for step in range(8):
        total += len(table(600))
        total += sum(len(remember(step * 2000 + number)) for number in range(2000))
        total += churn(60000)
    print(total)


main()
