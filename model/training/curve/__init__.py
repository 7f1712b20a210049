"""`make learning-curve`: how retrieval grows with the number of photographs and of names, and so what bounds it.

Throw-away heads, two layers a side, learn from a part of Flickr8k's train photographs what the publishers' untouched
trunks say: of a picture the mean of all levels over places and frames, of a text the mean of RoBERTa's states. All
parts have equally many steps, and a run counts as it was when it found Flickr8k's val part best. So a small part is not
punished for being learnt by heart; this is in favour of the curve, whose figures are an upper bound, on val above all.
A batch asks for each name once, so that fewer names also mean fewer to tell apart in a step.
"""
