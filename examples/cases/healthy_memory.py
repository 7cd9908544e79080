"""Healthy: keeps the last 30 of the documents that pass through it. It allocates much, and its memory stays what it is."""
import collections
import case


def parse(number):
    return {"number": number, "words": [("word %d" % i) * 5 for i in range(number % 7, 1000)]}


def main():
    options = case.options(__doc__)
    last = collections.deque(maxlen=30)
    documents = 0
    for number in range(30):
        last.append(parse(number))
    for number in case.arrivals(options.seconds, 0.1):
        last.append(parse(number))
        documents += 1
    case.tell("%d documents, of which it has the last %d", documents, len(last))


if __name__ == "__main__":
    main()
