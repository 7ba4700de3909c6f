"""The rules behind the rows of the HTTP corpus: one sentence each, its source, and how binding it is.

The corpus is stricter than the RFCs in places: it states what careful servers agree on. Where a specification
lets a server accept what the corpus refuses, the level is advice and the source says so.
"""

from __future__ import annotations

from conformance.model import Level

MUST, SHOULD, ADVICE = Level.MUST, Level.SHOULD, Level.ADVICE

ROWS: dict[str, tuple[str, str, Level]] = {
    "RL01": ("A bare LF does not end a line.", "RFC 9112 2.2 lets a server accept it", ADVICE),
    "RL02": ("A request line without a version is refused, whatever follows.", "RFC 9112 3", SHOULD),
    "RL03": ("A request line that is cut in two is refused.", "RFC 9112 3", SHOULD),
    "RL04": (
        "A TAB does not separate the parts of the request line.",
        "RFC 9112 3 lets a server accept it",
        ADVICE,
    ),
    "RL05": (
        "Exactly one SP separates the parts of the request line.",
        "RFC 9112 3 lets a server accept more",
        ADVICE,
    ),
    "RL06": (
        "Nothing stands between the version and CRLF.",
        "RFC 9112 3 lets a server accept white space",
        ADVICE,
    ),
    "RL07": ("The version is HTTP/1.0 or HTTP/1.1 to the letter.", "RFC 9112 2.3", SHOULD),
    "RL08": ("Another major version is refused with 505.", "RFC 9110 15.6.6", SHOULD),
    "RL09": ("HTTP/0.9 requests are refused.", "RFC 9112 3", SHOULD),
    "RL10": ("The method is a token.", "RFC 9110 9.1, 5.6.2", SHOULD),
    "RL11": ("The method is ASCII; unknown tokens reach the application.", "RFC 9110 9.1", SHOULD),
    "RL12": ("The target is printable ASCII without a fragment.", "RFC 9112 3.2; RFC 3986", SHOULD),
    "RL13": ("The target has one of the four forms, fit for the method.", "RFC 9112 3.2", SHOULD),
    "RL14": ("OPTIONS * reaches the application.", "RFC 9112 3.2.4", SHOULD),
    "RL15": (
        "An absolute target names the host; a Host that differs is refused.",
        "RFC 9112 3.2.2 (it may use the target and ignore Host)",
        MUST,
    ),
    "RL16": (
        "CONNECT is refused by a server that is no proxy, and opens no tunnel.",
        "RFC 9110 9.3.6",
        SHOULD,
    ),
    "RL17": ("A request line beyond the limit is refused; 8,000 bytes are taken.", "RFC 9112 3", SHOULD),
    "RL18": ("One empty line before a request is skipped, other noise is refused.", "RFC 9112 2.2", SHOULD),
    "RL19": (
        "Double slashes and stray percent signs reach the application.",
        "open redirects; PEP 3333",
        ADVICE,
    ),
    "RL20": ("The HTTP/2 preface is refused by a server that speaks HTTP/1 only.", "RFC 9113 3.4", SHOULD),
    "HD01": (
        "HTTP/1.1 needs a Host field; Connection is read as a list of options.",
        "RFC 9112 3.2, 9.3",
        MUST,
    ),
    "HD02": ("There is one Host field, and it is an authority.", "RFC 9112 3.2", MUST),
    "HD03": ("No white space stands between a field's name and the colon.", "RFC 9112 5.1", MUST),
    "HD04": ("No white space begins the first field line.", "RFC 9112 2.2", MUST),
    "HD05": ("A field has a name.", "RFC 9110 5.1", SHOULD),
    "HD06": (
        "No control character stands in a value.",
        "RFC 9110 5.5 (CR, LF and NUL: reject or replace)",
        MUST,
    ),
    "HD07": ("A CR in a value hides no second field.", "RFC 9110 5.5; CVE-2023-37276", MUST),
    "HD08": ("An empty line of bare LFs ends no head.", "RFC 9112 2.2; request smuggling", ADVICE),
    "HD09": ("A field's name is a token.", "RFC 9110 5.1, 5.6.2", SHOULD),
    "HD10": ("A folded field is refused.", "RFC 9112 5.2 lets a server unfold it", ADVICE),
    "HD11": ("A line without a colon, or with an LF in its name, is refused.", "RFC 9112 5", SHOULD),
    "HD12": (
        "Values arrive byte for byte, trimmed of SP and HTAB only.",
        "RFC 9110 5.5; PEP 3333 Unicode",
        MUST,
    ),
    "HD13": (
        "The head is limited in size, lines and fields.",
        "RFC 9110 5.4 leaves the limit to the server",
        ADVICE,
    ),
    "HD14": ("Large heads cost linear time.", "tornado, waitress advisories", ADVICE),
    "HD15": (
        "Names with an underscore do not pass for names with a dash.",
        "RFC 3875 4.1.18; puma advisory",
        ADVICE,
    ),
    "HD16": ("Proxy does not become HTTP_PROXY.", "httpoxy, CVE-2016-5385 and others", ADVICE),
    "HD17": ("Content-Type does not repeat.", "RFC 9110 5.3", SHOULD),
    "HD18": ("An unknown expectation is answered with 417, or ignored.", "RFC 9110 10.1.1", ADVICE),
    "HD19": ("Obsolete WebSocket fields have no effect on framing.", "RFC 9112 6", MUST),
    "CL01": ("Content-Length is a plain decimal number of sane size.", "RFC 9112 6.3", MUST),
    "CL02": ("Content-Length does not repeat.", "RFC 9110 8.6 (equal values may be merged)", ADVICE),
    "CL03": ("Leading zeros in Content-Length are digits like others.", "RFC 9110 8.6", MUST),
    "CL04": ("A body beyond the limit is refused with 413 and no 100.", "RFC 9110 15.5.14", SHOULD),
    "CL05": ("A body cut short is not taken for a whole one.", "RFC 9112 8; PEP 3333 wsgi.input", SHOULD),
    "CL06": ("A body that the application ignores does not become the next request.", "RFC 9112 9.3", MUST),
    "CL07": (
        "A huge body that nobody reads is drained within bounds or cut.",
        "RFC 9112 9.6; gunicorn 3301",
        ADVICE,
    ),
    "CL08": ("A head or body that trickles is cut by a deadline.", "slow-request attacks", ADVICE),
    "TE01": (
        "Content-Length beside Transfer-Encoding is refused.",
        "RFC 9112 6.1 lets a server decode it, then close",
        SHOULD,
    ),
    "TE02": ("A transfer coding that the server does not know is refused.", "RFC 9112 6.1", SHOULD),
    "TE03": ("chunked comes last and once.", "RFC 9112 6.1, 6.3 (MUST where it is not last)", SHOULD),
    "TE04": ("Transfer-Encoding is a clean list.", "RFC 9112 6.1; RFC 9110 5.6.1", SHOULD),
    "TE05": ("The name chunked has no case.", "RFC 9112 7", MUST),
    "TE06": ("HTTP/1.0 has no transfer codings.", "RFC 9112 6.1 (treat as faulty, then close)", SHOULD),
    "TE07": ("A field name is not folded.", "RFC 9112 5.1", MUST),
    "CH01": ("A chunk size is plain hexadecimal.", "RFC 9112 7.1", MUST),
    "CH02": ("A chunk size beyond 64 bits does not wrap.", "RFC 9112 7.1", MUST),
    "CH03": ("Chunk data is as long as its size says and ends in CRLF.", "RFC 9112 7.1", MUST),
    "CH04": ("A chunked body without its last chunk is incomplete.", "RFC 9112 8", MUST),
    "CH05": ("Chunk extensions keep their grammar.", "RFC 9112 7.1.1", SHOULD),
    "CH06": ("Valid extensions, zeros, hexadecimal letters and trailers are taken.", "RFC 9112 7.1", MUST),
    "CH07": (
        "Extensions and chunk overhead are limited.",
        "RFC 9112 7.1.1 asks for a limit; CVE-2023-39326",
        SHOULD,
    ),
    "CH08": (
        "Trailers are validated, capped, and hold no framing or routing fields.",
        "RFC 9110 6.5.1",
        SHOULD,
    ),
    "CH09": ("A request behind an invalid chunk is not answered.", "RFC 9112 7.1; request smuggling", MUST),
    "PL01": ("Pipelined requests are answered in order.", "RFC 9112 9.3.2", MUST),
    "PL02": ("Garbage behind a request costs that request nothing.", "RFC 9112 9.3.2", SHOULD),
    "PL03": ("Nothing behind a bad request is parsed.", "RFC 9112 9.3.2; waitress advisory", SHOULD),
    "PL04": ("Ten thousand pipelined requests do not pile up.", "RFC 9112 9.3.2; aiohttp advisory", ADVICE),
    "PL05": ("Bodies do not blur the borders of pipelined requests.", "RFC 9112 6.3", MUST),
    "PL06": ("A connection that pipelines for ever leaves room for others.", "puma advisory", ADVICE),
    "EX01": (
        "A client that waits for 100 gets it; one without a body does not.",
        "RFC 9110 10.1.1 (PEP-25a has the part that binds)",
        ADVICE,
    ),
    "EX02": (
        "A request refused without reading gets its final status only.",
        "RFC 9110 10.1.1; PEP 3333 allows 100 at once",
        ADVICE,
    ),
    "EX03": ("HTTP/1.0 clients get no interim response.", "RFC 9110 15.2", MUST),
    "OUT01": (
        "No status line injects a header or leaves malformed.",
        "PEP 3333 start_response; RFC 9112 4",
        MUST,
    ),
    "OUT02": (
        "No header injects another or leaves malformed.",
        "PEP 3333 start_response; RFC 9110 5.5",
        MUST,
    ),
    "OUT03": ("Early hints inject no header.", "RFC 8297; puma 5249", MUST),
    "OUT04": (
        "HEAD, 204 and 304 have no body, 204 no Content-Length; hop-by-hop is the server's.",
        "RFC 9110 6.4.1, 8.6",
        MUST,
    ),
    "OUT05": (
        "A response shorter than its Content-Length ends with the connection.",
        "RFC 9112 6.3, 9.3",
        MUST,
    ),
    "OUT06": (
        "Nothing beyond Content-Length reaches the wire.",
        "RFC 9112 6.3; PEP 3333 Content-Length",
        MUST,
    ),
    "OUT08": ("Error pages do not echo what they refuse.", "twisted 39348; CWE-79", ADVICE),
}
