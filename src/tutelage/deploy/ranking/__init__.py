"""Shipping a ranker: the cascade of student and teacher, its door for raw texts, its report, and its folder.

```python
from tutelage.deploy import ranking

ranker = ranking.load("runs/idcm/ranker")  # written by `tutelage run idcm`, or by `ranking.save`
found = ranker.rank("graphics card for a mac", documents, k=4)
print(found, [documents[place] for place in found.order[:3]])
print(ranking.compare(ranker, queries, documents_of_each, relevance_of_each))  # latency and quality beside reading all passages
```
"""

from tutelage.deploy.ranking.cascade import Answer, Cascade
from tutelage.deploy.ranking.compare import Comparison, compare
from tutelage.deploy.ranking.ranker import Ranker, Ranking, Windows
from tutelage.deploy.ranking.saved import load, save

__all__ = ["Answer", "Cascade", "Comparison", "Ranker", "Ranking", "Windows", "compare", "load", "save"]
