"""The greatest sizes in the repository today. They may shrink here and never grow.

The layout's own limits are 400 lines for a file, 60 for a function, 10 for the median function, and
5 parameters: no number here may be above them.
"""

FILE_LINES = 400
FUNCTION_LINES = 39
MEDIAN_FUNCTION_LINES = 6
PARAMETERS = 5
