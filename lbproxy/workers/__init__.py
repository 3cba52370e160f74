"""CONTROL. Several processes: a master that binds, checks and counts, and workers that serve
traffic.

``[lbproxy] workers = N`` replaces :class:`lbproxy.service.LoadBalancer` by
:class:`lbproxy.workers.master.Master`. See "Workers" in ``docs/architecture.rst``.
"""
