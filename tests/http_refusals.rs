//! What is refused: the status of each, that no handler hears of it, and that the client reads the refusal.

mod http_support;

use http_support::{Client, Cx, Server, describe, echo, serve, serve_within};
use vansire::http::Response;
use vansire::{Event, Limits};

/// Answers, and writes down all that it is told of HTTP.
fn telling(cx: &mut Cx<'_>, ev: Event<'_>) {
    if matches!(ev, Event::HttpHead(_) | Event::HttpBody(_) | Event::HttpRequest(_) | Event::Closed(_)) {
        cx.state.push(describe(&ev));
    }
    if let Event::HttpRequest(_) = ev {
        cx.reply(Response::text(200, "served"));
    }
}

/// Sends it in one piece, or byte by byte, and expects to be refused: told why in order, then closed, and nobody called.
fn is_refused(server: &mut Server, name: &str, request: &[u8], status: u16) {
    for step in [request.len(), 1] {
        if step == 1 && request.len() > 1000 {
            continue;
        }
        let told = format!("Closed: refused with {status}: ");
        let (calls, closes) = (server.count("Http"), server.count(&told));
        let mut client = server.connect();
        for part in request.chunks(step) {
            server.send(&mut client, part);
            if step == 1 {
                server.settle();
            }
        }
        if step == 1 {
            // A head that has not ended is judged from time to time; its end, or the end of all, is always such a time.
            client.shut();
        }
        let reply = server.reply(&mut client);
        assert_eq!((reply.status, reply.closes()), (status, true), "{name}: {}", reply.text());
        assert!(reply.header("date").is_some(), "{name}");
        if step != 1 {
            client.shut();
        }
        assert_eq!(server.end(&mut client), "", "{name}");
        server.until("the end is told", |server| server.count(&told) > closes);
        assert_eq!(server.count("Http"), calls, "{name}: no handler may be called");
    }
}

#[test]
fn e11_malformed_heads_are_400() {
    let table: [(&str, &[u8]); 30] = [
        ("no version", b"GET /\r\nHost: a\r\n\r\n"),
        ("HTTP/0.9", b"GET /\r\n"),
        ("HTTP/1", b"GET / HTTP/1\r\nHost: a\r\n\r\n"),
        ("HTTP/1.", b"GET / HTTP/1.\r\nHost: a\r\n\r\n"),
        ("lower-case version", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
        ("version with a space", b"GET / HTTP/ 1.1\r\nHost: a\r\n\r\n"),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("tab for a space", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("space before the method", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("bad method", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("relative target", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("fragment", b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("E27 NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("control byte in the target", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("bare LF", b"GET / HTTP/1.1\nHost: a\n\n"),
        ("bare LF at a header", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
        ("stray CR", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
        ("empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
        ("space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
        ("obs-fold", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
        ("fold at the first line", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"),
        ("control byte in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"),
        ("UTF-8 in a name", "GET / HTTP/1.1\r\nHost: a\r\nX-\u{fc}: a\r\n\r\n".as_bytes()),
        ("bad UTF-8 in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX-\xff: a\r\n\r\n"),
        ("leading lines", b"\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("TLS hello", b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03"),
        ("h2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ];
    let mut server = serve(telling);
    for (name, request) in table {
        // RFC 9112 §2.3: the preface has a version of its own.
        is_refused(&mut server, name, request, if name == "h2 preface" { 505 } else { 400 });
    }
}

#[test]
fn e12_e15_ambiguous_framing_is_400() {
    let post = |headers: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    };
    let table = [
        ("twice, same", post("Content-Length: 5\r\nContent-Length: 5"), 400),
        ("twice, different", post("Content-Length: 5\r\nContent-Length: 6"), 400),
        ("list", post("Content-Length: 5, 5"), 400),
        ("both", post("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400),
        ("chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
        ("chunked not last", post("Transfer-Encoding: chunked, gzip"), 400),
        ("no chunked", post("Transfer-Encoding: identity"), 400),
        ("another coding", post("Transfer-Encoding: gzip, chunked"), 501),
        ("-1", post("Content-Length: -1"), 400),
        ("+5", post("Content-Length: +5"), 400),
        ("19e18", post("Content-Length: 19000000000000000000"), 400),
        ("empty", post("Content-Length:"), 400),
        ("hexadecimal", post("Content-Length: 0x5"), 400),
        ("E15 1.0 chunked", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 400),
        ("bad Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), 400),
    ];
    let mut server = serve(telling);
    for (name, request, status) in table {
        is_refused(&mut server, name, request.as_bytes(), status);
    }
    // Whitespace around the digits is not part of them.
    let mut client = server.connect();
    let trimmed = server.ask(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 \r\n\r\nhello");
    assert_eq!((trimmed.status, server.log().last().unwrap().as_str()), (200, "HttpRequest / hello"));
}

#[test]
fn heads_beyond_the_limits_have_a_status_of_their_own() {
    let many = |n| (0..n).map(|i| format!("X-{i}: y\r\n")).collect::<String>();
    let table = [
        ("414", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000)), 414),
        ("414, unfinished", format!("GET /{}", "a".repeat(9000)), 414),
        ("501", format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(50)), 501),
        ("501, unfinished", "M".repeat(50), 501),
        ("501, RFC 9110 9.3.6", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".into(), 501),
        ("505", "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), 505),
        ("505, old", "GET / HTTP/0.9\r\nHost: a\r\n\r\n".into(), 505),
        ("505, minor", "GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), 505),
        ("431, one header", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(20_000)), 431),
        ("E27 431, 100 KB", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(100_000)), 431),
        ("431, 65 headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", many(64)), 431),
        ("E27 431, 500 headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", many(500)), 431),
        // E13: a length beyond the limit is never ignored.
        ("E13 length at 101", format!("POST / HTTP/1.1\r\nHost: a\r\n{}Content-Length: 5\r\n\r\nhello", many(99)), 431),
    ];
    let mut server = serve(telling);
    for (name, request, status) in table {
        is_refused(&mut server, name, request.as_bytes(), status);
    }
    let mut client = server.connect();
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{}Content-Length: 5\r\n\r\nhello", many(29));
    assert_eq!(server.ask(&mut client, request.as_bytes()).status, 200);
    assert_eq!(server.log().last().unwrap(), "HttpRequest / hello", "E13: a length as header 31 is honoured");
    let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n{}\r\n", "a".repeat(8000), many(63));
    assert_eq!(server.ask(&mut client, request.as_bytes()).status, 200);
}

#[test]
fn limits_of_a_listener_are_its_own() {
    let limits = Limits::new().head_max(100).headers_max(2).target_max(10).body_max(3);
    let table: [(&[u8], u16); 5] = [
        (b"GET /123456789 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET /1234567890 HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n", 431),
        (&[b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &[b'x'; 100][..]].concat(), 431),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfour", 413),
    ];
    for (request, status) in table {
        let mut server = serve_within(limits, echo);
        let mut client = server.connect();
        assert_eq!(server.ask(&mut client, request).status, status, "{}", String::from_utf8_lossy(request));
    }
}

#[test]
fn e24_two_megabytes_of_header_byte_by_byte_are_cut_at_the_limit() {
    let mut server = serve(telling);
    let mut client = server.connect();
    server.send(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
    // A turn of the loop for each byte, until the refusal; then the rest in one go.
    let mut sent = 0;
    while client.got.is_empty() && sent < 2 << 20 {
        server.send(&mut client, b"a");
        server.settle();
        client.receive();
        sent += 1;
    }
    assert_eq!(sent + b"GET / HTTP/1.1\r\nHost: a\r\nX: ".len(), 16 << 10, "at head_max");
    server.send(&mut client, &vec![b'a'; (2 << 20) - sent]);
    client.shut();
    assert_eq!(server.reply(&mut client).status, 431);
    assert_eq!(server.end(&mut client), "");
}

#[test]
fn a_refusal_is_read_though_megabytes_behind_it_are_not() {
    let mut server = serve(telling);
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        server.send(client, b"GET / HTTP/1.1\r\nbad header\r\n\r\n");
        server.send(client, &vec![b'x'; 3_000_000]);
    }
    for client in &mut clients {
        assert_eq!(server.reply(client).status, 400);
        client.shut();
        assert_eq!(server.end(client), "");
    }
    assert_eq!(server.count("Http"), 0);
}

#[test]
fn rfc_9110_9_3_2_a_refused_head_request_gets_no_body() {
    let table: [(&[u8], u16); 2] = [
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nExpect: something\r\n\r\n", 417),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n", 413),
    ];
    for (request, status) in table {
        let mut server = serve(telling);
        let mut client = server.connect();
        server.send(&mut client, request);
        assert_eq!(server.reply_to(&mut client, "HEAD").status, status);
        client.shut();
        assert_eq!(server.end(&mut client), "");
    }
}

#[test]
fn e27_an_unknown_method_is_a_request_like_others() {
    let mut server = serve(telling);
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, b"FROB-1 / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    assert_eq!(server.log()[0], "HttpHead FROB-1 /");
}

#[test]
fn refusals_are_counted_and_the_reason_is_told() {
    let mut server = serve(telling);
    let mut client = server.connect();
    server.ask(&mut client, b"GET / HTTP/1.1\r\n\r\n");
    client.shut();
    server.end(&mut client);
    server.until_logged("Closed");
    assert_eq!(server.log(), ["Closed: refused with 400: no Host header"]);
    let stats = server.manager.stats();
    assert_eq!((stats.http_refused, stats.http_requests), (1, 0));
}
