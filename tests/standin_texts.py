"""Two texts that teach, of code and of prose: the stand-in gives each of them all points."""

LESSON_CODE = '''"""Finding a value in a sorted list by halving what is left, again and again.

Example:
    >>> find_place([1, 3, 5], 3)
    1
"""


def find_place(values, wanted):
    """Return the place of the wanted value in a sorted list, or None where it does not occur."""
    first, last = 0, len(values)
    while first < last:
        middle = (first + last) // 2
        if values[middle] == wanted:
            return middle
        if values[middle] < wanted:
            first = middle + 1
        else:
            last = middle
    return None
'''
LESSON_PROSE = """A heap is a tree that is kept in a list, so that no links are needed at all. The \
root is the first item, and the children of an item stand at twice its place. Because every item \
is at most as large as its children, the smallest one is always found at the front.

Suppose the smallest item is taken away. Then the last item moves to the front and sinks, since it \
is larger than its children. For example, a heap of a thousand items needs only ten such steps.

A priority queue is a list of tasks from which the most urgent one is taken first. It is used, for \
instance, by schedulers. If the tasks were kept in order instead, each new task would cost more.
"""
