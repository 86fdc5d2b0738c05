"""Ask redis-py what URLs mean, and write redispy.json: the expectations of TestURLsMeanWhatRedisPySays.

    python3 -m venv V && V/bin/pip install redis==8.1.0 && V/bin/python redispy.py > redispy.json

Each URL is given to redis.connection.parse_url and then to ConnectionPool.from_url(...).make_connection(), which makes the
connection's object and talks to nobody. "refused" says that one of them raised an error.
"""
import json
import ssl
import sys

import redis
from redis.connection import ConnectionPool, SSLConnection, UnixDomainSocketConnection

URLS = """
redis://
redis://localhost
redis://localhost:6379/0
redis://somehost
redis://somehost:1234
redis://somehost:1234/
redis://somehost/3
redis://SomeHost/3
redis://somehost?db=4
redis://somehost/3?db=4
redis://somehost/?db=4
redis://somehost/three
redis://somehost/three?db=4
redis://somehost/1/2
redis://somehost/a/2
redis://somehost/ 5
redis://somehost/%205
redis://somehost/+6
redis://somehost/1_0
redis://somehost/1__0
redis://somehost/_1
redis://somehost/07
redis://somehost/%37
redis://somehost/0#fragment
redis://somehost/0?db=2#fragment
redis://somehost?db=
redis://somehost?db=x
redis://somehost?db=1.5
redis://somehost?db=%203
redis://somehost?db=+3
redis://somehost?db=1&db=2
redis://somehost?db
redis://:secret@somehost
redis://:secret@somehost:1234/5
redis://user:secret@somehost
redis://user@somehost
redis://user:@somehost
redis://@somehost
redis://:@somehost
redis://:pa:ss@somehost
redis://:pa@ss@somehost
redis://us@er:pa@ss@somehost
redis://:p^a$s&w(o)r!d*@somehost
redis://:50%off@somehost
redis://:100%@somehost
redis://:%zz@somehost
redis://:%2@somehost
redis://:%+1@somehost
redis://:a%2Fb%40c%3Ad%25@somehost
redis://:a%2fb@somehost
redis://:a%252Fb@somehost
redis://:a+b@somehost
redis://:a b@somehost
redis://:pässwörd@somehost
redis://:p%C3%A4ss@somehost
redis://:pa/ss@somehost
redis://:pa?ss@somehost
redis://:pa#ss@somehost
redis://:pa;ss@somehost
redis://us%3Aer:secret@somehost
redis://somehost?password=secret
redis://somehost?username=user&password=sec%20ret
redis://somehost?password=sec+ret
redis://somehost?password=a%252Fb
redis://u:first@somehost?username=x&password=second
redis://?host=other&port=7000
redis://somehost:1?host=other&port=7000
redis://?port=x
redis://[::1]
redis://[::1]:7000/2
redis://[::1
redis://::1]
redis://[fe80::1%eth0]:7000
redis://127.0.0.1:7000
redis://somehost:
redis://somehost:0
redis://somehost:65535
redis://somehost:65536
redis://somehost:x
redis://somehost:-1
redis://somehost:+1
redis://somehost:1:2
redis://some%2Dhost
redis://some_host
REDIS://somehost
http://somehost
redis:somehost
redis:/somehost
 redis://somehost
somehost
redis+sentinel://somehost/mymaster/0
redis://somehost?socket_timeout=5
redis://somehost?socket_timeout=0.25&socket_connect_timeout=1.5
redis://somehost?socket_timeout=x
redis://somehost?socket_connect_timeout=
redis://somehost?client_name=otpost
redis://somehost?socket_keepalive=yes
redis://somehost?health_check_interval=30
redis://somehost?health_check_interval=x
redis://somehost?retry_on_timeout=1
redis://somehost?max_connections=5
redis://somehost?max_connections=x
redis://somehost?decode_responses=1
redis://somehost?encoding=utf-8
redis://somehost?protocol=2
redis://somehost?nosuch=1
redis://somehost?ssl_cert_reqs=none
redis://somehost?path=/x
rediss://somehost
rediss://somehost:1234/5
rediss://:secret@somehost?db=5
rediss://somehost?ssl_cert_reqs=none
rediss://somehost?ssl_cert_reqs=optional
rediss://somehost?ssl_cert_reqs=required
rediss://somehost?ssl_cert_reqs=CERT_NONE
rediss://somehost?ssl_cert_reqs=
rediss://somehost?ssl_check_hostname=false
rediss://somehost?ssl_check_hostname=False
rediss://somehost?ssl_check_hostname=0
rediss://somehost?ssl_check_hostname=n
rediss://somehost?ssl_check_hostname=no
rediss://somehost?ssl_check_hostname=off
rediss://somehost?ssl_check_hostname=true
rediss://somehost?ssl_cert_reqs=none&ssl_check_hostname=true
rediss://somehost?ssl_min_version=771
rediss://somehost?ssl_min_version=772
rediss://somehost?ssl_min_version=x
rediss://somehost?ssl_ciphers=HIGH
rediss://somehost?ssl_validate_ocsp=1
rediss://somehost?ssl_nosuch=1
unix:///run/redis.sock
unix:///run/redis.sock?db=3
unix://:secret@/run/redis.sock
unix://user:secret@/run/redis.sock?db=3
unix:///run/a%20b.sock
unix:///run/a b.sock
unix:///run/redis.sock/3
unix://host/run/redis.sock
unix://?path=/run/redis.sock
unix:///run/redis.sock?path=/other
unix:///run/redis.sock?socket_timeout=2
unix:///run/redis.sock?host=x
unix:///run/redis.sock?ssl_cert_reqs=none
"""


def ask(url):
    try:
        pool = ConnectionPool.from_url(url)
        c = pool.make_connection()
    except Exception:
        return {"url": url, "refused": True}
    said = {"url": url, "db": c.db, "user": c.username or "", "password": c.password or ""}
    given = pool.connection_kwargs
    said["socket_timeout"] = given.get("socket_timeout") if "socket_timeout=" in url else None
    said["socket_connect_timeout"] = given.get("socket_connect_timeout") if "socket_connect_timeout=" in url else None
    said["client_name"] = c.client_name or ""
    if isinstance(c, UnixDomainSocketConnection):
        said["path"] = c.path
    else:
        said["host"], said["port"] = c.host, c.port
    if isinstance(c, SSLConnection):
        said["tls"] = True
        said["chain"] = c.cert_reqs != ssl.CERT_NONE
        said["name"] = bool(c.check_hostname)
        said["min_version"] = c.ssl_min_version or 0
    return {k: v for k, v in said.items() if v is not None}


if __name__ == "__main__":
    urls = [u for u in URLS.split("\n") if u]
    json.dump({"made_by": "testdata/redispy.py with redis-py " + redis.__version__ + ", Python " + sys.version.split()[0],
               "urls": [ask(u) for u in urls]}, sys.stdout, indent=1, ensure_ascii=False)
    print()
