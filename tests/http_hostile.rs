//! Hostile bytes that the conformance scripts lack: each row cites its clause and says every answer.
//!
//! An answer is `200 METHOD target body` where the handler was called, else the status alone. Each row is sent in one
//! piece and byte by byte, then our side is shut; the server must end the connection in order, and the handler must have
//! seen nothing but what was answered 200.

mod http_support;

use std::time::Duration;

use http_support::{Client, Server, describe, echo, serve, serve_within};
use vansire::{Event, Limits};

/// What the server answered, in order, joined by semicolons.
fn answers(reply: &str) -> String {
    let mut rest = reply;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_once("\r\n\r\n").unwrap_or_else(|| panic!("half a head: {reply:?}"));
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)).expect("a status line");
        let len = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
        let len = len.map_or(0, |len| len.parse().unwrap());
        all.push(if status == "200" { format!("200 {}", &after[..len]) } else { status.to_owned() });
        rest = &after[len..];
    }
    all.join("; ")
}

/// Sends it in pieces of this length, and answers what came back until the end.
fn exchange(server: &mut Server, bytes: &[u8], step: usize) -> String {
    let mut client = server.connect();
    for piece in bytes.chunks(step.max(1)) {
        server.send(&mut client, piece);
        if step == 1 {
            server.settle();
        }
    }
    client.shut();
    answers(&server.end(&mut client))
}

fn check(name: &str, bytes: &[u8], expected: &str) {
    let mut server = serve(echo);
    for step in [bytes.len(), 1] {
        if step == 1 && bytes.len() > 2000 {
            continue;
        }
        assert_eq!(exchange(&mut server, bytes, step), expected, "{name}, in pieces of {step}");
        let served: Vec<String> =
            expected.split("; ").filter_map(|one| one.strip_prefix("200 ")).map(Into::into).collect();
        assert_eq!(server.log(), served, "{name}, in pieces of {step}");
        server.manager.state_mut().clear();
        server.until("nothing is left of it", |server| server.net().connection_count() == 1);
    }
    assert_eq!(server.manager.stats().handler_panics, 0, "{name}");
}

/// A GET that must never be served: it stands where a body, or nothing, should.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn bytes_of_other_protocols_are_refused_at_their_first_line() {
    let table: &[(&str, &[u8], &str)] = &[
        // RFC 9112 §3: a request line begins with a method, which is a token.
        ("TLS 1.3 hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03random", "400"),
        ("SSLv2 hello", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", "400"),
        ("SOCKS4", b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", "400"),
        ("SOCKS5", b"\x05\x01\x00", "400"),
        ("PROXY protocol 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("PROXY protocol 2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c", "400"),
        ("SSH", b"SSH-2.0-OpenSSH_9.0\r\n", "400"),
        ("SMTP", b"EHLO a\r\n", "400"),
        ("FTP", b"USER anonymous\r\n", "400"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n", "400"),
        ("Redis, inline", b"PING\r\n", "400"),
        ("JSON", b"{\"jsonrpc\":\"2.0\"}\n", "400"),
        ("RDP", b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00", "400"),
        ("SMB", b"\x00\x00\x00\x2f\xffSMBr\x00\x00\x00\x00", "400"),
        ("WebSocket frame", b"\x81\x85\x01\x02\x03\x04aaaaa", "400"),
        ("zeros", &[0; 100], "400"),
        ("0xff", &[0xff; 100], "400"),
        ("UTF-8 mark", b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("UTF-16", b"G\0E\0T\0 \0/\0", "400"),
        // RFC 9113 §3.4: the preface is chosen so that no HTTP/1.1 server takes it for a request.
        ("HTTP/2 by prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "505"),
        // RFC 9110 §7.8: an upgrade may be ignored; then what follows must be HTTP/1.1.
        (
            "h2c",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "200 GET / ; 505",
        ),
        ("a reply", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "400"),
        ("RTSP", b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", "400"),
        ("SIP", b"INVITE sip:a@b SIP/2.0\r\n\r\n", "400"),
    ];
    for (name, bytes, expected) in table {
        check(name, bytes, expected);
    }
}

#[test]
fn rfc_9112_3_request_lines() {
    let table: &[(&str, &str, &str)] = &[
        ("§3 space behind the version", "GET / HTTP/1.1 ", "400"),
        ("§3 tab behind the target", "GET /\tHTTP/1.1", "400"),
        ("§3 two spaces before the version", "GET /  HTTP/1.1", "400"),
        ("§3 form feed for a space", "GET\x0c/ HTTP/1.1", "400"),
        ("§2.3 major version of two digits", "GET / HTTP/11.1", "400"),
        ("§2.3 no slash", "GET / HTTP1.1", "400"),
        ("§2.3 a plus sign", "GET / HTTP/+1.1", "400"),
        ("§2.3 version 3", "GET / HTTP/3.0", "505"),
        ("§3.2 two targets", "GET /a /b HTTP/1.1", "400"),
        // Browsers send some of what a URI may not contain; none of it ends or splits the line.
        ("§3.2 no URI, but one word", "GET /\"<>\\^`{|} HTTP/1.1", "200 GET /\"<>\\^`{|} "),
        ("§3.2 backslash for the slash", "GET \\ HTTP/1.1", "400"),
        ("§3.2 eight bits in the target", "GET /\u{fc} HTTP/1.1", "400"),
        ("§3.2 escape in the target", "GET /%00%ff%2e%2e HTTP/1.1", "200 GET /%00%ff%2e%2e "),
        ("§3.2.1 dot segments are the handler's", "GET /a/../../b HTTP/1.1", "200 GET /a/../../b "),
        ("§3.2.1 two slashes are no authority", "GET //b/c HTTP/1.1", "200 GET //b/c "),
        ("§3.2.2 absolute-form", "GET http://b/c HTTP/1.1", "200 GET http://b/c "),
        ("§3.2.2 upper-case scheme", "GET HTTP://b/ HTTP/1.1", "200 GET HTTP://b/ "),
        ("§3.2.2 another scheme", "GET ftp://b/ HTTP/1.1", "400"),
        ("§3.2.2 no authority", "GET http:///c HTTP/1.1", "400"),
        ("§3.2.2 one slash", "GET http:/c HTTP/1.1", "400"),
        ("RFC 9110 §4.2.4 user information", "GET http://u:p@b/ HTTP/1.1", "400"),
        ("§3.2.2 bad port", "GET http://b:8o/ HTTP/1.1", "400"),
        ("§3.2.2 backslash in the authority", "GET http://b\\@c/ HTTP/1.1", "400"),
        ("§3.2.3 authority-form is CONNECT's", "GET b:80 HTTP/1.1", "400"),
        ("§3.2.3 CONNECT without a port", "CONNECT b HTTP/1.1", "400"),
        ("§3.2.3 CONNECT to a path", "CONNECT / HTTP/1.1", "400"),
        ("§3.2.3 CONNECT to an empty port", "CONNECT b: HTTP/1.1", "400"),
        ("§3.2.4 asterisk-form is OPTIONS'", "GET * HTTP/1.1", "400"),
        ("§3.2.4 asterisk-form", "OPTIONS * HTTP/1.1", "200 OPTIONS * "),
        ("§3.2.4 two asterisks", "OPTIONS ** HTTP/1.1", "400"),
        ("§3.2 fragment", "GET /#/smuggled HTTP/1.1", "400"),
    ];
    for (name, line, expected) in table {
        check(name, format!("{line}\r\nHost: a\r\n\r\n").as_bytes(), expected);
    }
    let after = "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let table = [
        // RFC 9112 §2.2: at least one empty line before a request is ignored; nothing else is.
        (
            "an empty line between requests",
            format!("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\n{after}"),
            "200 GET /1 ; 200 GET /2 ",
        ),
        ("a bare LF between requests", format!("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\n{after}"), "200 GET /1 ; 400"),
        ("a bare CR between requests", format!("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r{after}"), "200 GET /1 ; 400"),
        ("a space between requests", format!("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n {after}"), "200 GET /1 ; 400"),
        ("empty lines for ever", "\r\n".repeat(900), "400"),
        ("nothing", String::new(), ""),
    ];
    for (name, bytes, expected) in table {
        check(name, bytes.as_bytes(), expected);
    }
    // RFC 9110 §5.6.2: every byte that is none of a token's, in a method.
    for byte in (0..=255u8).filter(|b| !b.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~".contains(b)) {
        let bytes = [b"GE", &[byte][..], b"T / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        check(&format!("byte {byte:#x} in a method"), &bytes, "400");
    }
}

#[test]
fn rfc_9112_5_every_byte_of_names_and_values() {
    for byte in 0..=255u8 {
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        // RFC 9110 §5.1: names are tokens. A colon ends the name.
        let expected = if is_token || byte == b':' { "200 GET / " } else { "400" };
        let name = [b"GET / HTTP/1.1\r\nHost: a\r\nX", &[byte][..], b"Y: z\r\n\r\n"].concat();
        check(&format!("byte {byte:#x} in a name"), &name, expected);
        // RFC 9110 §5.5: visible characters, spaces, tabs and what is beyond ASCII; RFC 9112 §2.2: no bare CR or LF.
        let expected = if byte >= b' ' && byte != 0x7f || byte == b'\t' { "200 GET / " } else { "400" };
        let value = [b"GET / HTTP/1.1\r\nHost: a\r\nX: y", &[byte][..], b"z\r\n\r\n"].concat();
        check(&format!("byte {byte:#x} in a value"), &value, expected);
    }
}

#[test]
fn rfc_9110_7_2_hosts() {
    let table = [
        ("empty port", "Host: a:", "200"),
        ("IPv6", "Host: [::1]:80", "200"),
        ("IPv6 without brackets", "Host: ::1", "400"),
        ("half a bracket", "Host: [::1", "400"),
        ("behind the bracket", "Host: [::1]x", "400"),
        ("zone", "Host: [fe80::1%25eth0]", "400"),
        ("negative port", "Host: a:-1", "400"),
        ("two ports", "Host: a:1:2", "400"),
        ("path", "Host: a/b", "400"),
        ("backslash", "Host: a\\b", "400"),
        ("scheme", "Host: http://a", "400"),
        ("tab inside", "Host: a\tb", "400"),
        ("eight bits", "Host: \u{fc}", "400"),
        ("angle brackets", "Host: <script>", "400"),
        ("twice in two letter cases", "Host: a\r\nhOST: b", "400"),
        ("twice, one empty", "Host: a\r\nHost:", "400"),
        ("nominated by Connection", "Host: a\r\nConnection: Host", "200"),
        ("another's name", "X-Host: a", "400"),
        ("underscore for the letter", "H_st: a", "400"),
    ];
    for (name, headers, status) in table {
        let expected = if status == "200" { "200 GET / " } else { status };
        check(name, format!("GET / HTTP/1.1\r\n{headers}\r\n\r\n").as_bytes(), expected);
    }
}

#[test]
fn rfc_9112_6_two_readers_never_see_two_messages() {
    let hello = "5\r\nhello\r\n0\r\n\r\n";
    let table: &[(&str, &str, &str, &str)] = &[
        // Lengths (RFC 9110 §8.6: digits and nothing else).
        ("leading zeros", "Content-Length: 0005", "hello", "200 POST / hello"),
        ("whitespace around", "Content-Length: \t 5 \t", "hello", "200 POST / hello"),
        ("space inside", "Content-Length: 1 5", "hello", "400"),
        ("fraction", "Content-Length: 5.0", "hello", "400"),
        ("exponent", "Content-Length: 5e0", "hello", "400"),
        ("quoted", "Content-Length: \"5\"", "hello", "400"),
        ("digits of another script", "Content-Length: \u{665}", "hello", "400"),
        ("wide digits", "Content-Length: \u{ff15}", "hello", "400"),
        ("semicolon", "Content-Length: 5;", "hello", "400"),
        ("many zeros", &format!("Content-Length: {}5", "0".repeat(200)), "hello", "200 POST / hello"),
        ("2^64", "Content-Length: 18446744073709551616", "hello", "400"),
        ("twice in two letter cases", "Content-Length: 5\r\ncONTENT-lENGTH: 5", "hello", "400"),
        ("first empty, then right", "Content-Length:\r\nContent-Length: 5", "hello", "400"),
        ("nominated by Connection", "Connection: Content-Length\r\nContent-Length: 5", "hello", "200 POST / hello"),
        ("underscore is another field", "Content_Length: 35", SMUGGLED, "200 POST / ; 200 GET /smuggled "),
        ("zero, with a body", "Content-Length: 0", "hello\r\n", "200 POST / ; 400"),
        // Codings (RFC 9112 §6.1, §7).
        ("letter case", "tRANSFER-eNCODING: cHUNKED", hello, "200 POST / hello"),
        ("tab before the coding", "Transfer-Encoding:\tchunked", hello, "200 POST / hello"),
        ("no whitespace", "Transfer-Encoding:chunked", hello, "200 POST / hello"),
        ("double quotes", "Transfer-Encoding: \"chunked\"", hello, "400"),
        // Stricter than RFC 9110 §5.6.1 asks: no sender has empty members here, and readers differ in them.
        ("an empty member", "Transfer-Encoding: chunked,", hello, "400"),
        ("vertical tab behind", "Transfer-Encoding: chunked\x0b", hello, "400"),
        ("two codings in one word", "Transfer-Encoding: chunked identity", hello, "400"),
        ("deflate", "Transfer-Encoding: deflate, chunked", hello, "501"),
        ("quoted comma", "Transfer-Encoding: x;a=\"chunked,\", chunked", hello, "400"),
        ("underscore is another field", "Transfer_Encoding: chunked\r\nContent-Length: 5", "hello", "200 POST / hello"),
        ("TE is no framing", "TE: chunked\r\nContent-Length: 5", "hello", "200 POST / hello"),
        (
            "nominated by Connection",
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
            hello,
            "200 POST / hello",
        ),
        ("with an empty length", "Content-Length:\r\nTransfer-Encoding: chunked", hello, "400"),
        ("with a length far behind", "Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 0", hello, "400"),
        (
            "Content-Encoding is no framing",
            "Content-Encoding: chunked\r\nContent-Length: 5",
            "hello",
            "200 POST / hello",
        ),
        (
            "multipart/byteranges is no framing",
            "Content-Type: multipart/byteranges; boundary=a",
            "--a\r\n",
            "200 POST / ; 400",
        ),
    ];
    for (name, headers, body, expected) in table {
        check(name, format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}").as_bytes(), expected);
        // RFC 9112 §6.3: once refused, nothing behind it is a request.
        let refused = expected.len() == 3;
        if refused {
            let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}{SMUGGLED}{SMUGGLED}");
            check(name, bytes.as_bytes(), expected);
        }
    }
    // RFC 9110 §9.3.1, §9.3.2: methods without a use for a body frame it as all others do.
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "FROB"] {
        let framed = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len());
        let chunked = format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
            SMUGGLED.len()
        );
        for bytes in [framed, chunked] {
            let mut server = serve(echo);
            let mut client = server.connect();
            server.send(&mut client, bytes.as_bytes());
            server.until("it is served", |server| !server.log().is_empty());
            client.shut();
            let reply = server.end(&mut client);
            assert_eq!(server.log(), [format!("{method} / {SMUGGLED}")], "{reply}");
            assert_eq!(reply.matches("HTTP/1.1 200").count(), 1, "{reply}");
        }
    }
    // RFC 9112 §6.1: HTTP/1.0 has no codings, and its lengths are as strict.
    for (name, headers, expected) in [
        ("1.0 with a coding", "Transfer-Encoding: chunked", "400"),
        ("1.0 with both", "Transfer-Encoding: chunked\r\nContent-Length: 5", "400"),
        ("1.0, kept alive, with a coding", "Connection: keep-alive\r\nTransfer-Encoding: chunked", "400"),
        ("1.0 with two lengths", "Content-Length: 5\r\nContent-Length: 5", "400"),
        ("1.0 with a length", "Content-Length: 5", "200 POST / hello"),
        ("1.0 with an expectation", "Content-Length: 5\r\nExpect: banana", "200 POST / hello"),
    ] {
        check(name, format!("POST / HTTP/1.0\r\n{headers}\r\n\r\nhello").as_bytes(), expected);
    }
}

#[test]
fn rfc_9112_7_1_chunks() {
    let long = |n: usize| "x".repeat(n);
    let many = |n: usize, chunk: &str| chunk.repeat(n);
    let table: &[(&str, String, &str)] = &[
        ("upper-case size", "A\r\n0123456789\r\n0\r\n\r\n".into(), "200 POST / 0123456789"),
        ("0x", "0x5\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("h", "5h\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("comma", "5,5\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("quoted size", "\"5\"\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("wide digit", "\u{ff15}\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("empty size", "\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("-0", "-0\r\n\r\n".into(), "400"),
        ("many zeros", "00000\r\n\r\n".into(), "200 POST / "),
        ("zeros for ever", long(0) + &"0".repeat(1500), "400"),
        ("two CRLF behind the size", "5\r\n\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("data too short", "5\r\nhell\r\n0\r\n\r\n".into(), "400"),
        ("no CRLF behind the data", "5\r\nhello0\r\n\r\n".into(), "400"),
        ("LF behind the data", "5\r\nhello\n0\r\n\r\n".into(), "400"),
        ("a space behind the data", "5\r\nhello \r\n0\r\n\r\n".into(), "400"),
        // §7.1.1: an extension ends with its line, quoted or not.
        ("CRLF in quotes", "5;a=\"x\r\nhello\r\n0\r\n\r\n\"".into(), "200 POST / hello; 400"),
        ("control byte in an extension", "5;a=\x01\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("NUL in an extension", "5;a=\0\r\nhello\r\n0\r\n\r\n".into(), "400"),
        (
            "bare LF in an extension, twice read",
            format!("5;\nhello\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()),
            "400",
        ),
        ("long extension", format!("5;{}\r\nhello\r\n0\r\n\r\n", long(1500)), "400"),
        ("extensions, short but without end", many(2000, &format!("1;{}\r\nx\r\n", long(100))), "400"),
        ("the last chunk has one", "5\r\nhello\r\n0;a=b\r\n\r\n".into(), "200 POST / hello"),
        // §7.1.2: trailers are fields, and none of them frames or routes anything.
        ("Transfer-Encoding behind", "0\r\nTransfer-Encoding: gzip\r\n\r\n".into(), "200 POST / "),
        ("Host behind", "0\r\nHost: evil\r\nHost: two\r\n\r\n".into(), "200 POST / "),
        (
            "Content-Length behind",
            format!("0\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()),
            "200 POST / ; 200 GET /smuggled ",
        ),
        ("no colon", "0\r\nX\r\n\r\n".into(), "400"),
        ("empty name", "0\r\n: x\r\n\r\n".into(), "400"),
        ("space before the colon", "0\r\nX : y\r\n\r\n".into(), "400"),
        ("a request for a trailer", format!("0\r\n{SMUGGLED}"), "400"),
        ("fold", "0\r\nX: y\r\n z\r\n\r\n".into(), "400"),
        ("eight bits in a name", "0\r\nX\u{fc}: y\r\n\r\n".into(), "400"),
        ("LF ends the section", "0\r\nX: y\r\n\n".into(), "400"),
        ("CR ends the section", "0\r\nX: y\r\n\rx".into(), "400"),
        ("trailers for ever", "0\r\n".to_owned() + &many(5000, "X: y\r\n"), "400"),
        ("one trailer for ever", "0\r\nX: ".to_owned() + &long(20_000), "400"),
        ("data behind the end", "0\r\n\r\nhello\r\n".into(), "200 POST / ; 400"),
        // Sizes whose sum is too much, though each is not (413), and that overflow (400).
        ("two halves", "80000\r\n".to_owned() + &long(0x80000) + "\r\n80001\r\n", "413"),
        ("a sum beyond 64 bits", "5\r\nhello\r\nfffffffffffffffb\r\n".into(), "413"),
        ("17 digits", "10000000000000000\r\n".into(), "400"),
    ];
    for (name, body, expected) in table {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        check(name, bytes.as_bytes(), expected);
    }
}

#[test]
fn rfc_9112_9_connections_and_expectations() {
    let table: &[(&str, String, &str)] = &[
        ("close wins over keep-alive", format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n{SMUGGLED}"), "200 GET / "),
        ("close in two lines, in any letter case", format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nconnection: ,,CLOSE\r\n\r\n{SMUGGLED}"), "200 GET / "),
        ("a quoted option is another", format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: \"close\"\r\n\r\n{SMUGGLED}"), "200 GET / ; 200 GET /smuggled "),
        ("Proxy-Connection is nothing", format!("GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n{SMUGGLED}"), "200 GET / ; 200 GET /smuggled "),
        // §9.3.2: what comes behind a refused request is not served.
        ("good, bad, good", format!("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nBAD\r\n\r\n{SMUGGLED}"), "200 GET /1 ; 400"),
        ("too large, then good", format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n{SMUGGLED}"), "413"),
        // RFC 9110 §10.1.1
        ("Expect twice, the same", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\nhello".into(), "200 POST / hello"),
        ("Expect twice, one unknown", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nExpect: x\r\n\r\nhello".into(), "417"),
        ("a list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue, x\r\n\r\nhello".into(), "417"),
        ("a value", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue=1\r\n\r\nhello".into(), "417"),
        ("refused with a body behind", format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\nExpect: x\r\n\r\n{SMUGGLED}"), "417"),
    ];
    for (name, bytes, expected) in table {
        // Byte by byte 100 would be sent, for which the body would have waited; and a client that closes has sent all.
        if bytes.contains("100-continue\r\n\r\n") || name.starts_with("close") {
            let mut server = serve(echo);
            assert_eq!(exchange(&mut server, bytes.as_bytes(), bytes.len()), *expected, "{name}");
            continue;
        }
        check(name, bytes.as_bytes(), expected);
    }
    let thousand: String = (0..1000).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    let expected: Vec<String> = (0..1000).map(|i| format!("200 GET /{i} ")).collect();
    check("a thousand requests at once", thousand.as_bytes(), &expected.join("; "));
}

/// A request that goes through every state of the parsers.
const ALL_STATES: &[u8] =
    b"\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n5;e=f\r\nhello\r\n1\r\n!\r\n0;l\r\nT: u\r\n\r\n";

#[test]
fn rfc_9112_8_an_end_in_any_state_is_told_and_never_taken_for_a_whole_message() {
    let mut server = serve(|cx: &mut http_support::Cx<'_>, ev: Event<'_>| {
        if let Event::Closed(_) = ev {
            cx.state.push(describe(&ev));
        }
        echo(cx, ev);
    });
    let line = ALL_STATES.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    for end in 1..ALL_STATES.len() {
        let reply = exchange(&mut server, &ALL_STATES[..end], end);
        assert_eq!(reply, "", "cut at {end}, where the head ends at {line}");
        server.until("its end is told", |server| server.net().connection_count() == 1);
        assert_eq!(server.log(), ["Closed: closed by the peer"], "cut at {end}");
        server.manager.state_mut().clear();
        // Cut off instead of closed.
        let mut client = server.connect();
        server.send(&mut client, &ALL_STATES[..end]);
        server.settle();
        client.cut_off();
        server.until("its end is told", |server| server.net().connection_count() == 1);
        assert_eq!(server.count("POST"), 0, "cut off at {end}");
        server.manager.state_mut().clear();
    }
    assert_eq!(exchange(&mut server, ALL_STATES, 7), "200 POST /a?b hello!");
}

#[test]
fn a_byte_now_and_then_is_not_enough_in_any_state() {
    // RFC 9110 §15.5.9: the deadline of a head, then the floor of bytes per second.
    let mut at = 3;
    while at < ALL_STATES.len() {
        let mut server = serve_within(Limits::new(), echo);
        let mut client = server.connect();
        server.send(&mut client, &ALL_STATES[..at]);
        server.settle();
        // From here on one byte each second: extensions and trailers where there could be more for ever.
        let mut seconds = 0;
        while client.got.is_empty() && seconds < 30 {
            let more = ALL_STATES.get(at + seconds).filter(|_| at + seconds + 1 < ALL_STATES.len());
            if let Some(byte) = more {
                server.send(&mut client, &[*byte]);
            }
            server.advance(Duration::from_secs(1));
            client.receive();
            seconds += 1;
        }
        client.shut();
        let reply = server.end(&mut client);
        assert_eq!((answers(&reply).as_str(), server.log().len()), ("408", 0), "from {at} on");
        assert!(seconds <= 21, "from {at} on it took {seconds} s");
        at += 3;
    }
    // Also where each byte is one that could be followed by others for ever.
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let table = [
        ("empty lines", String::new(), "\r\n", "400"),
        ("a method", String::new(), "A", "408"),
        ("a target", "GET /".into(), "a", "408"),
        ("a name", "GET / HTTP/1.1\r\n".into(), "a", "408"),
        ("a value", "GET / HTTP/1.1\r\nX:".into(), " ", "408"),
        ("headers", "GET / HTTP/1.1\r\n".into(), "A:\r\n", "408"),
        ("a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n".into(), "a", "408"),
        ("a size", chunked.into(), "0", "408"),
        ("an extension", format!("{chunked}5;"), "a", "408"),
        ("chunks", chunked.into(), "1\r\na\r\n", "408"),
        ("trailers", format!("{chunked}0\r\n"), "A:\r\n", "408"),
    ];
    for (name, prefix, drip, expected) in table {
        let mut server = serve(echo);
        let mut client: Client = server.connect();
        server.send(&mut client, prefix.as_bytes());
        let mut seconds = 0;
        while client.got.is_empty() && !client.ended && seconds < 60 {
            server.send(&mut client, drip.as_bytes());
            server.advance(Duration::from_secs(1));
            client.receive();
            seconds += 1;
        }
        client.shut();
        let reply = server.end(&mut client);
        assert_eq!(answers(&reply), expected, "{name}");
        assert!(seconds <= 21 && server.log().is_empty(), "{name}: {seconds} s, {:?}", server.log());
    }
}
