"""A server under load: one family file behind one queue, the policy beside single sizes, all under the same arrivals.

The server is a real `concertina serve` process, the client another one that sends each request when it is due. Nothing
of the server's own code runs here; what it does is judged from outside.
"""

from concertina.bench.serving.report import reached, told
from concertina.bench.serving.run import FULL, QUICK, Effort, run_serving

__all__ = ["FULL", "QUICK", "Effort", "reached", "run_serving", "told"]
