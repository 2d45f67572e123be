//! Cases B, D and E of the behaviour table, over real sockets. Bodies, replies, refusals and deadlines have files of their
//! own.

mod http_support;

use std::net::TcpStream;
use std::time::Duration;

use http_support::{Client, Cx, describe, echo, serve};
use vansire::http::{Credentials, Response, TokenFrom, basic_auth};
use vansire::{Ctx, Event, Limits, ListenOptions, Manager, ManualClock};

#[test]
fn b1_b2_events_come_in_order_each_connection_opened_and_closed_once() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        cx.state.push(format!("{} {}", cx.conn, describe(&ev)));
        if let Event::HttpRequest(request) = ev {
            cx.reply(Response::text(200, request.target()));
        }
    });
    let (listener, mut client) = (server.listener, server.connect());
    for target in ["/1", "/2"] {
        server.ask(&mut client, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    }
    let conn = server.net().connections()[1].id;
    drop(client);
    server.until("the end is told", |server| server.net().connection_count() == 1);
    server.net().close(listener);
    server.settle();
    let of = |id, events: &[&str]| events.iter().map(|event| format!("{id} {event}")).collect::<Vec<_>>();
    let connection = of(
        conn,
        &[
            "Opened",
            "Accepted",
            "HttpHead GET /1",
            "HttpRequest /1 ",
            "HttpHead GET /2",
            "HttpRequest /2 ",
            "Closed: closed by the peer",
        ],
    );
    let told = |id| server.log().iter().filter(|line| line.starts_with(&format!("{id} "))).cloned().collect::<Vec<_>>();
    assert_eq!(told(conn), connection);
    assert_eq!(told(listener), of(listener, &["Opened", "Closed: closed by this side"]));
}

/// That it cannot be kept itself is an example of `Event` that must not compile.
#[test]
fn b6_what_a_request_says_can_be_kept_as_a_copy() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = &ev {
            cx.state.push(request.header("x-name").unwrap().to_owned());
        }
        echo(cx, ev);
    });
    let mut client = server.connect();
    server.ask(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\nX-Name: kept\r\n\r\n");
    assert_eq!(server.log()[0], "kept");
}

#[test]
fn d1_the_scheme_says_whether_http_is_parsed_and_raw_overrides_it() {
    let table = [
        (ListenOptions::new("http://127.0.0.1:0"), true),
        (ListenOptions::new("HTTP://127.0.0.1:0"), true),
        (ListenOptions::new("http://127.0.0.1:0").raw(true), false),
        (ListenOptions::new("tcp://127.0.0.1:0"), false),
    ];
    for (options, parses) in table {
        let name = format!("{options:?}");
        let mut server = serve(echo);
        let log = |cx: &mut Cx<'_>, ev: Event<'_>| cx.state.push(ev.name().to_owned());
        let listener = server.net().listen(options, log).unwrap();
        server.addr = server.net().local_addr(listener).unwrap().to_string().parse().unwrap();
        let mut client = server.connect();
        server.send(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        server.until("the request is told", |server| server.count("HttpRequest") + server.count("Data") == 1);
        assert_eq!(server.count("HttpRequest") == 1, parses, "{name}");
    }
    let mut manager = Manager::new(()).unwrap();
    for scheme in ["https", "wss"] {
        let handler = |_: &mut Ctx<'_, ()>, _: Event<'_>| {};
        let refused = manager.net().listen(format!("{scheme}://127.0.0.1:0"), handler).unwrap_err();
        assert!(refused.is_unsupported() && refused.to_string().contains("TLS"), "{refused}");
    }
}

#[test]
fn e1_each_of_ten_clients_gets_its_own_answers() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            let who = request.query("who").unwrap().unwrap();
            let (path, body) = (request.path().unwrap(), request.body_text().unwrap());
            cx.reply(Response::text(200, &format!("{} {path} {who} {body}", request.method())));
        }
    });
    let mut clients: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "FROB"] {
        for (i, client) in clients.iter_mut().enumerate() {
            let body = if method == "GET" { String::new() } else { format!("body {i}") };
            let request = format!(
                "{method} /a%20path/{i}?who=c{i} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            server.send(client, request.as_bytes());
        }
        for (i, client) in clients.iter_mut().enumerate() {
            let body = if method == "GET" { String::new() } else { format!("body {i}") };
            assert_eq!(server.reply(client).text(), format!("{method} /a path/{i} c{i} {body}"));
        }
    }
    assert_eq!(server.manager.stats().accepted, 10);
}

/// Has a handler look at a request and write down what it finds.
fn look(request: &str, find: fn(&vansire::http::Request<'_>) -> String) -> String {
    let mut server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            cx.state.push(find(request));
            cx.reply(Response::new(200));
        }
    });
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, request.as_bytes()).status, 200, "{request}");
    server.log()[0].clone()
}

#[test]
fn e2_headers_are_found_in_any_letter_case() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Name: \tvalue \r\nx-name: second\r\nX-Empty:\r\n\r\n";
    let found = look(request, |request| {
        assert_eq!(request.header("X-NAME"), Some("value"));
        assert_eq!(request.header("x-empty"), Some(""));
        assert_eq!(request.header("missing").unwrap_or("default"), "default");
        assert_eq!(request.header_all("x-Name").collect::<Vec<_>>(), [&b"value"[..], b"second"]);
        request.headers().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(found, "Host X-Name x-name X-Empty");
}

#[test]
fn e3_a_parameter_of_a_header_value_is_unquoted() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nContent-Type: text/html; charset=utf-8; name=\"a \\\"b\\\"\"\r\n\r\n";
    let found = look(request, |request| {
        let of = |header, name| request.header_param(header, name).map(|value| value.into_owned());
        format!(
            "{:?} {:?} {:?} {:?}",
            of("content-type", "CHARSET"),
            of("content-type", "name"),
            of("content-type", "missing"),
            of("missing", "charset")
        )
    });
    assert_eq!(found, r#"Some("utf-8") Some("a \"b\"") None None"#);
}

#[test]
fn e4_query_variables_are_decoded_and_never_cut() {
    let request = "GET /?plain=x&space=a%20b&plus=a+b&empty=&name&bad=%2&worse=%zz HTTP/1.1\r\nHost: a\r\n\r\n";
    let found = look(request, |request| {
        ["plain", "space", "plus", "empty", "name", "missing", "bad", "worse"]
            .map(|name| format!("{:?}", request.query(name).map(|value| value.map(|value| value.into_owned()))))
            .join(" ")
    });
    let expected =
        r#"Ok(Some("x")) Ok(Some("a b")) Ok(Some("a b")) Ok(Some("")) Ok(Some("")) Ok(None) Err(NotHex) Err(NotHex)"#;
    assert_eq!(found, expected);

    // 60 KB, where the listener admits such a target, and any length in a form.
    let limits = Limits::new().head_max(65_000).target_max(64_000);
    let mut server = http_support::serve_within(limits, |cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            let found = request.query("v").unwrap().or(request.form("v").unwrap());
            let len = found.unwrap().len();
            cx.reply(Response::text(200, &len.to_string()));
        }
    });
    let mut client = server.connect();
    let request = format!("GET /?v={} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(60_000));
    assert_eq!(server.ask(&mut client, request.as_bytes()).text(), "60000");
    let headers = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100002";
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\nv={}", "x".repeat(100_000));
    assert_eq!(server.ask(&mut client, request.as_bytes()).text(), "100000");
}

#[test]
fn e10_a_head_cut_anywhere_only_needs_more() {
    let request = b"\r\nPOST /a?b=c HTTP/1.1\r\nHost: a\r\nX-Y: z\r\nContent-Length: 2\r\n\r\nhi";
    let mut server = serve(echo);
    for cut in 0..=request.len() {
        let mut client = server.connect();
        server.send(&mut client, &request[..cut]);
        server.settle();
        client.receive();
        if cut < request.len() {
            assert_eq!(client.shown(), "", "cut at {cut}");
            server.send(&mut client, &request[cut..]);
        }
        assert_eq!(server.reply(&mut client).text(), "POST /a?b=c hi", "cut at {cut}");
    }
    assert_eq!(server.manager.stats().http_refused, 0);
}

#[test]
fn e31_credentials_come_from_four_places() {
    let basic = |user, password| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\n\r\n", basic_auth(user, password).unwrap())
    };
    assert!(basic("user", "pass").contains("Authorization: Basic dXNlcjpwYXNz\r\n"));
    for (user, password) in [("user", "pass"), ("user", ""), ("user@ex", "p@ss:word!"), ("jürgen", "pässwörd €")] {
        let found = look(&basic(user, password), |request| match request.credentials() {
            Some(Credentials::Basic { user, password }) => format!("{user} / {password}"),
            other => format!("{other:?}"),
        });
        assert_eq!(found, format!("{user} / {password}"));
    }
    let places = [
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: bearer t0ken\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; access_token=t0ken\r\n\r\n",
        "GET /?access_token=t0ken HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for request in places {
        let found = look(request, |request| {
            let all = [TokenFrom::Header, TokenFrom::Cookie("access_token"), TokenFrom::Query("access_token")];
            request.access_token(&all).unwrap().unwrap().into_owned()
        });
        assert_eq!(found, "t0ken", "{request}");
    }
    // Where nobody asked for it, a query variable is no credential.
    let found = look(places[2], |request| {
        format!("{:?} {:?}", request.credentials(), request.access_token(&[TokenFrom::Header]))
    });
    assert_eq!(found, "None Ok(None)");
}

#[test]
fn e27_fifty_idle_clients_and_one_that_says_nothing_harm_nobody() {
    let mut server = serve(echo);
    let idle: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    drop(server.connect());
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "GET / ");
    server.until("the empty one is gone", |server| server.net().connection_count() == 52);
    drop(idle);
    server.until("the idle ones are gone", |server| server.net().connection_count() == 2);
}

#[test]
fn http_is_served_on_a_unix_socket_and_on_one_that_was_taken_over() {
    let clock = ManualClock::new();
    let mut manager = Manager::builder().clock(clock.clone()).build(Vec::new()).unwrap();
    let std = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = std.local_addr().unwrap();
    let listener = manager.net().adopt(vansire::net::Scheme::Http, std, echo).unwrap();
    let mut server = http_support::Server { manager, listener, addr, clock };
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").text(), "GET /x ");

    #[cfg(unix)]
    {
        use std::io::{Read, Write};
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        server.net().adopt(vansire::net::Scheme::Http, ours, echo).unwrap();
        theirs.write_all(b"GET /y HTTP/1.0\r\n\r\n").unwrap();
        server.until_logged("GET /y");
        server.settle();
        let mut all = String::new();
        theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        theirs.read_to_string(&mut all).unwrap();
        assert!(all.ends_with("\r\n\r\nGET /y "), "{all}");
    }
}

#[test]
fn a_client_of_many_connections_at_once_is_served_on_each() {
    let mut server = serve(echo);
    let streams: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(server.addr).unwrap()).collect();
    let mut clients: Vec<Client> = streams.into_iter().map(Client::new).collect();
    for client in &mut clients {
        server.send(client, b"GET /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(server.reply(client).text(), "GET /c ");
        assert_eq!(server.end(client), "");
    }
    server.until("all are gone", |server| server.net().connection_count() == 1);
}
