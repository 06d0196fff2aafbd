"""How fast Dolmen is, each figure beside what this very machine could do at most.

A machine's speed moves by a factor of two from hour to hour, and another machine's says nothing at
all: so no figure stands alone. A benchmark runs its *subject* (Dolmen) and one or more *limits*
(the least that the same work costs here without Dolmen: plain copies, a bare socket, an echo) in
turn within one run, A B A B, and reports medians, their spread and the ratio. The ratio is the
median of the rounds' own ratios, and 1.00 is as good as the limit, for rates and for times alike.

Namenode and datanodes are processes of their own, started as an operator starts them; the client is
in the benchmark's process, or in as many as the benchmark says. `python -m benchmarks --list` names
the questions; `docs/performance.md` explains the answers.
"""
