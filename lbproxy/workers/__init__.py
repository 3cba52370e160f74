"""CONTROL. More than one process: a master that binds, watches and counts, and workers that serve.

``[lbproxy] workers = N`` makes :class:`lbproxy.workers.master.Master` of what is otherwise one
:class:`lbproxy.service.LoadBalancer`.  See "Workers" in ``docs/architecture.rst``.
"""
