# lbproxy in a container: built with the compiled modules, run without root and without a compiler.
#
#   docker build -t lbproxy .
#   docker run -p 8080:8080 -v $PWD/lb.ini:/etc/lbproxy/lb.ini:ro lbproxy
#
# Without a configuration of yours it serves docs/examples/container.ini, which answers on port 8080.

FROM python:3.13-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY . /src
RUN LBPROXY_COMPILED=1 pip wheel --no-cache-dir --wheel-dir /wheels "/src[fast,cli,waf,guard,geo,redis,convert]"

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/lbproxy --create-home lbproxy
COPY --from=build /wheels /wheels
# the second command writes Twisted's plugin cache, which the user of the image cannot write
RUN pip install --no-cache-dir --no-index --find-links /wheels "lbproxy[fast,cli,waf,guard,geo,redis,convert]" && twistd --help >/dev/null
COPY docs/examples/container.ini /etc/lbproxy/lb.ini
USER lbproxy
WORKDIR /var/lib/lbproxy
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s CMD ["lbproxy", "status", "-c", "/etc/lbproxy/lb.ini"]
ENTRYPOINT ["lbproxy", "run"]
CMD ["/etc/lbproxy/lb.ini"]
