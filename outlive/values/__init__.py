"""Values: what is stored besides arrays, as structure and buffers. Knows no shelf and no Ray.

packing      a value becomes parts, which are written one after the other
columns      a large tree of plain data becomes buffers by column; rows: how they are read
structure    the format, and how a value is read from it; building: the objects of its nodes; plans: made again
registry     codecs of other types, by type and by name; libraries: those that come with outlive
arrays       NumPy's arrays and scalars; classes: dataclasses, named tuples, enums
pickled      all else
"""
