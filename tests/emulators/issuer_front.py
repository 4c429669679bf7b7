#!/usr/bin/env python3
"""Shows the issuer documents of an S3 emulator over HTTPS under their real names.

Clients use this as their HTTPS proxy (HTTPS_PROXY=http://127.0.0.1:PORT) and trust its certificate authority
(SSL_CERT_FILE=DIR/ca.pem). A connection to BUCKET.s3.REGION.amazonaws.com:443 ends here, with a certificate for that
name, and GET /KEY is answered with what an anonymous GET of that object from the emulator gives. With --cloudfront it
also plays a CloudFront distribution, which may read its bucket even if that is private.

Needs nothing but Python and the openssl program.
"""

import argparse
import http.client
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# BUCKET.s3.REGION.SUFFIX, BUCKET.s3.SUFFIX, BUCKET.s3.dualstack.REGION.SUFFIX, BUCKET.s3-REGION.SUFFIX
S3_HOST = re.compile(r"^(?P<bucket>[a-z0-9][a-z0-9.-]*?)\.s3[.-][a-z0-9.-]*(amazonaws\.|aws\.|amazonwebservices\.)[a-z.]+$")

# MiniStack lets its root key pass without a look at the signature. A distribution is allowed to read by the bucket's
# policy in AWS; here it always is.
AS_ROOT = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=" + "0" * 64
}


class Authority:
    """A certificate authority of its own, which makes a certificate for each host when it is first asked for."""

    def __init__(self, directory):
        self.directory = directory
        self.contexts = {}
        self.lock = threading.Lock()
        os.makedirs(directory, exist_ok=True)
        self.key, self.certificate = self.path("ca.key"), self.path("ca.pem")
        if not (os.path.exists(self.key) and os.path.exists(self.certificate)):
            self.make_key(self.key)
            with open(self.path("ca.cnf"), "w") as file:
                file.write(
                    "[req]\ndistinguished_name=dn\nx509_extensions=ca\nprompt=no\n[dn]\nCN=Rolecall test issuer front\n"
                    "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
                    "subjectKeyIdentifier=hash\n"
                )
            openssl("req", "-x509", "-new", "-key", self.key, "-sha256", "-days", "365",
                    "-config", self.path("ca.cnf"), "-out", self.certificate + ".part")
            os.replace(self.certificate + ".part", self.certificate)

    def path(self, name):
        return os.path.join(self.directory, name)

    def make_key(self, path):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)

    def context(self, host):
        """The TLS settings with a certificate for this host."""
        with self.lock:
            if host not in self.contexts:
                self.contexts[host] = self.make_context(host)
            return self.contexts[host]

    def make_context(self, host):
        key, request, config, leaf = (self.path(f"{host}.{kind}") for kind in ("key", "csr", "cnf", "pem"))
        self.make_key(key)
        # The common name has room for 64 characters only; the name that counts is the alternative one.
        openssl("req", "-new", "-key", key, "-subj", "/CN=issuer", "-out", request)
        with open(config, "w") as file:
            file.write(
                f"subjectAltName=DNS:{host}\nbasicConstraints=critical,CA:FALSE\n"
                "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
            )
        serial = "0x" + os.urandom(16).hex()
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-set_serial", serial,
                "-days", "90", "-sha256", "-extfile", config, "-out", leaf)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(leaf, key)
        context.set_alpn_protocols(["http/1.1"])
        return context


def openssl(*args):
    done = subprocess.run(["openssl", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(args)}: {done.stderr.strip()}")


class Handler(BaseHTTPRequestHandler):
    """What both sides of the tunnel share."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    server_version = "issuer-front"
    sys_version = ""

    def answer(self, status, content_type, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format, *args):
        print(f"issuer_front: {getattr(self, 'host', '')} {format % args}", flush=True)


class Outside(Handler):
    """The HTTP proxy: knows nothing but CONNECT."""

    def do_CONNECT(self):
        host, _, port = self.path.rpartition(":")
        host = host.lower().rstrip(".")
        server = self.server
        self.close_connection = True
        if host in server.refused:
            return self.answer(502, "text/plain", f"{host} is refused (--refuse)\n".encode())
        bucket = server.distributions.get(host)
        credentials = AS_ROOT if bucket else {}
        if bucket is None and (match := S3_HOST.match(host)):
            bucket = match["bucket"]
        if bucket is None or port != "443":
            return self.answer(502, "text/plain", f"{self.path} is not the address of a bucket\n".encode())
        try:
            context = server.authority.context(host)
        except (RuntimeError, OSError) as error:
            return self.answer(500, "text/plain", f"no certificate for {host}: {error}\n".encode())
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        try:
            with context.wrap_socket(self.connection, server_side=True) as tunnel:
                Inside(tunnel, self.client_address, server, host, bucket, credentials)
        except OSError as error:  # among them ssl.SSLError: the client does not trust us, or left
            print(f"issuer_front: {host}: {error}", flush=True)

    def do_GET(self):
        self.answer(501, "text/plain", b"this is a proxy for https only\n")

    do_HEAD = do_GET


class Inside(Handler):
    """The web server that the client sees within the tunnel."""

    def __init__(self, connection, address, server, host, bucket, credentials):
        self.host, self.bucket, self.credentials = host, bucket, credentials
        super().__init__(connection, address, server)

    def do_GET(self):
        s3 = self.server.s3
        key = urllib.parse.urlsplit(self.path).path.lstrip("/")
        connection = http.client.HTTPConnection(s3.hostname, s3.port, timeout=30)
        try:
            connection.request(self.command, f"/{self.bucket}/{key}", headers=self.credentials)
            reply = connection.getresponse()
            body = reply.read()
            passed = ("Cache-Control", "ETag", "Last-Modified")
            headers = [(name, reply.headers[name]) for name in passed if reply.headers[name]]
            headers += [pair for pair in reply.headers.items() if pair[0].lower().startswith("x-amz-meta-")]
            self.answer(reply.status, reply.headers["Content-Type"], body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.answer(502, "text/plain", f"S3 at {s3.geturl()}: {error}\n".encode())
        finally:
            connection.close()

    do_HEAD = do_GET


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        print(f"issuer_front: {sys.exc_info()[1]}", flush=True)


def s3_address(text):
    address = urllib.parse.urlsplit(text)
    if address.scheme != "http" or not address.hostname or not address.port:
        raise argparse.ArgumentTypeError(f"{text!r} is not like http://127.0.0.1:4566")
    return address


def host_and_bucket(text):
    host, separator, bucket = text.partition("=")
    if not (host and separator and bucket):
        raise argparse.ArgumentTypeError(f"{text!r} is not like HOST=BUCKET")
    return host.lower(), bucket


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen-port", type=int, required=True, metavar="PORT",
                        help="port on 127.0.0.1 to listen on; 0 for a free one, which the ready line names")
    parser.add_argument("--s3", type=s3_address, required=True, metavar="URL",
                        help="the S3 emulator, like http://127.0.0.1:4566")
    parser.add_argument("--dir", required=True, metavar="DIR",
                        help="directory for keys and certificates; clients trust DIR/ca.pem")
    parser.add_argument("--refuse", action="append", default=[], metavar="HOST",
                        help="answer connections to this host with 502 (may be repeated)")
    parser.add_argument("--cloudfront", action="append", default=[], type=host_and_bucket, metavar="HOST=BUCKET",
                        help="also show this bucket, public or not, under this name (may be repeated)")
    args = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    authority = Authority(args.dir)
    server = Server(("127.0.0.1", args.listen_port), Outside)
    server.authority, server.s3 = authority, args.s3
    server.refused = {host.lower() for host in args.refuse}
    server.distributions = dict(args.cloudfront)
    print(f"issuer_front: ready on http://127.0.0.1:{server.server_port}, authority {authority.certificate}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
