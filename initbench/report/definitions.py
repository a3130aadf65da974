"""What the words and columns of a report mean."""

DEFINITIONS = {
    "learned": "trials that finished with a final validation accuracy significantly above that of always predicting "
    "the most frequent class (one-sided exact binomial test, p < 0.001), out of all trials.",
    "steps to a share, the target": "Kaplan-Meier median of the first evaluation at or above that validation "
    "accuracy, over the trials that did not fail, and the number of trials that reached it. A trial that did not reach "
    "it, or diverged before, is censored at its budget of steps; where fewer than half reach the target, the median is "
    "beyond the budget (> 400). In brackets: the exact 95 % interval of the median, with 6 trials or more. Resolution: "
    "the number of steps between evaluations, of which there are some 30, spaced by equal factors.",
    "target, where none is given": "what the nearest class mean reaches, rounded down to a whole percent: validation "
    "images are given the class whose mean training image is nearest (Euclidean, standardized as networks are fed). "
    "It needs no training, so no scheme, seed or budget has a part in it; a network at the target classifies about as "
    "well as that. Halfway between guessing and 1 where the nearest class mean is hardly better than guessing.",
    "better, worse, faster, slower": "the scheme differs from the baseline in an exact test, p ≤ 0.05 after Holm's "
    "adjustment over the schemes of the table. One point is 0.01 of accuracy. A pair is the two trials of one seed: "
    "same batches, same underlying random draws. Schemes whose pairs could be swapped are called different with a "
    "probability of at most 5 %; equal means are less than that: rare collapses that no seed showed are not excluded.",
    "interval of a difference, level": "the shifts that the exact test does not reject at the level that Holm's step "
    "left it, 0.05 over the number of comparisons still open: it excludes 0 exactly where the adjusted test rejects. "
    "The other intervals of the row have the same level. Below the seeds that could reach it there is none.",
    "learns, reaches; more often, less often": "by the exact test of who learned (reached the target) over pairs, at "
    "any share. “Learns where the baseline does not”: also, the interval of the scheme's share is above one half, that "
    "of the baseline's below; “does not learn; the baseline does” is the reverse. “Nor does the baseline” is a count: "
    "no trial of either did. The test and that of accuracy (steps) count as one comparison: what the choice between "
    "them costs is part of p.",
    "undecided; too few learn": "the side ahead lost more trials to divergence, or most pairs point against the mean; "
    "fewer pairs than a test needs have a trial that learned (reached the target), so only guesses would be compared.",
    "no detectable difference; about k seeds": "the test found no difference, which does not show that there is none. "
    "With about k seeds, the test would detect a true difference of the stated size with a power of 80 %, given the "
    "spread of the differences here.",
    "p": "p value of the exact two-sided sign-flip test: the probability of a mean difference at least this large if "
    "the sign of each pair's difference were random. With n pairs it is at least 2/2^n.",
    "p (Holm)": "p adjusted for the number of schemes compared with the baseline in this table: the probability of any "
    "false difference among them, in who learned or by how much, is at most 5 %. Accuracy and steps are separate "
    "families.",
    "better in a pair": "share of pairs in which the scheme is above the baseline, ties counted half, with its exact "
    "interval.",
    "correlation": "Pearson correlation between the two sides of the pairs, with Fisher's 95 % interval: the higher it "
    "is, the more pairing gains.",
    "times as fast": "mean of baseline steps over that of scheme steps, if both trials of every pair reached the "
    "target; its interval is of the same exact test, at the same level: the factors f for which it does not reject "
    "equal means of f × scheme steps and baseline steps.",
    "restricted mean": "mean of the steps to the target, where a trial that did not reach it counts as the whole "
    "budget: the area under the Kaplan-Meier curve up to the budget.",
    "log-rank p, first p": "log-rank compares two Kaplan-Meier curves; it ignores pairing and is asymptotic. First: "
    "the exact sign test of who reached the target first in each pair. Both are for reference; the verdict uses "
    "neither.",
    "expected running time": "steps spent by all trials over the number that reached the target, as in COCO: the "
    "expected cost of reaching it once if unsuccessful trials are restarted; with Fieller's interval.",
    "interquartile mean": "across settings: mean of the middle half of all test accuracies, diverged trials ranked "
    "lowest; 95 % bootstrap interval over seeds within each setting. It does not generalize to other models or "
    "datasets.",
    "probability of a better trial": "across settings: probability that a trial of the scheme is above a trial of the "
    "baseline, ties counted half, averaged over settings; not paired.",
    "±": "half-width of the 95 % interval of the mean (Student t over seeds); none with fewer than 2 values. With few, "
    "skewed values its coverage is below 95 %. It is of one scheme: whether two differ is the verdict's to say.",
    "k/n after a mean": "only k of the n trials have the value, as the others diverged or failed: the mean is over "
    "survivors only.",
    "test accuracy": "share of correct predictions on the test split, evaluated once, at the end of a finished trial.",
    "loss at step 0": "validation cross-entropy before the first update, in nats; ln K is that of a uniform guess "
    "among K classes.",
    "diverged": "trials in which a number became non-finite; their curves end there, and no value is imputed.",
}
