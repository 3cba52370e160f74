"""DATA. ``adaptive_concurrency`` of backends: :mod:`lbproxy.health.gradient` applied to traffic."""
