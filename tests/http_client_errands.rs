//! Whole errands of a client: fetched, redirected, through proxies.

mod http_support;

use http_support::script::{Script, record};
use http_support::{Client, Cx, Server, describe, echo, serve};
use vansire::http::{Request, RequestBuilder, Response};
use vansire::{ConnectOptions, Event};

/// A server that redirects: `/STATUS/TARGET`, and otherwise tells what it was asked.
fn redirecting() -> Server {
    serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        let Event::HttpRequest(request) = ev else { return };
        let told =
            ["authorization", "cookie", "content-type", "x-kept"].map(|name| request.header(name).unwrap_or("-"));
        let text = format!("{} {} {:?} {told:?}", request.method(), request.target(), request.body_text().unwrap());
        cx.state.push(text.clone());
        let mut parts = request.target()[1..].splitn(2, '/');
        match (parts.next().and_then(|status| status.parse().ok()), parts.next()) {
            (Some(status), Some(to)) => cx.reply(Response::new(status).header("Location", to.to_owned())),
            _ => cx.reply(Response::text(200, &text)),
        };
    })
}

fn fetched(server: &mut Server, request: RequestBuilder<'_>) -> Vec<String> {
    server
        .net()
        .fetch(request, |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
            Event::HttpResponse(_) | Event::Closed(_) | Event::Opened => cx.state.push(describe(&ev)),
            _ => {}
        })
        .unwrap();
    server.until_logged("Closed");
    std::mem::take(server.manager.state_mut())
}

#[test]
fn an_errand_connects_asks_tells_and_closes() {
    let mut server = serve(echo);
    let url = format!("http://{}/a?b#c", server.addr);
    let told = fetched(&mut server, Request::post(url).body("x"));
    assert_eq!(told, ["Opened", "POST /a?b x", "HttpResponse 200 POST /a?b x", "Closed: closed by this side"]);
    // What cannot be begun leaves nothing behind.
    let before = server.manager.net().connection_count();
    let url = format!("http://{}/", server.addr);
    for request in [Request::get(url).header("X", "\n"), Request::get("https://h/"), Request::get("/path")] {
        assert!(server.net().fetch(request, record).is_err());
    }
    server.settle();
    assert_eq!((server.manager.net().connection_count(), server.log().len()), (before, 0));
}

#[test]
fn rfc_9110_15_4_redirects_are_followed_on_demand() {
    let mut server = redirecting();
    let at = format!("http://{}", server.addr);
    let get = |path: &str| Request::get(format!("{at}{path}"));
    // (request, the last line but one)
    let dashes = r#"["-", "-", "-", "-"]"#;
    let table = [
        ("not asked to", get("/302/x"), "HttpResponse 302 ".to_owned()),
        ("relative", get("/302//x?y").redirects(1), format!("HttpResponse 200 GET /x?y \"\" {dashes}")),
        ("three", get("/301//302//307//x").redirects(3), format!("HttpResponse 200 GET /x \"\" {dashes}")),
        ("too many", get("/301//302//307//x").redirects(2), "GET /307//x".to_owned()),
        ("no redirect", get("/304//x").redirects(3), "HttpResponse 304 ".to_owned()),
        ("HEAD stays", Request::of("HEAD", format!("{at}/303//x")).redirects(1), "HttpResponse 200 ".to_owned()),
    ];
    for (name, request, expected) in table {
        let told = fetched(&mut server, request);
        assert!(told[told.len() - 2].starts_with(&expected), "{name}: {told:?}");
        let end = if name == "too many" { "given up: more than 2 redirects" } else { "closed by this side" };
        assert_eq!(told.last().unwrap(), &format!("Closed: {end}"), "{name}");
        assert_eq!(told.iter().filter(|line| *line == "Opened").count(), 1, "{name}");
    }
    // The method and the body.
    let post = |status: u16| {
        let request = Request::post(format!("{at}/{status}//x")).header("X-Kept", "k").header("Cookie", "c");
        request.json("{}").redirects(1)
    };
    for status in [301, 302, 303, 307, 308] {
        let told = fetched(&mut server, post(status));
        let expected = match status {
            301..=303 => r#"HttpResponse 200 GET /x "" ["-", "c", "-", "k"]"#,
            _ => r#"HttpResponse 200 POST /x "{}" ["-", "c", "application/json", "k"]"#,
        };
        assert_eq!(told[told.len() - 2], expected, "{status}");
    }
}

#[test]
fn credentials_do_not_leave_their_origin() {
    let mut server = redirecting();
    let mut other = redirecting();
    let at = format!("http://user:pw@{}", server.addr);
    let basic = "Basic dXNlcjpwdw==";
    let ask =
        |to: String| Request::get(format!("{at}/302/{to}")).header("Cookie", "c").header("X-Kept", "k").redirects(2);
    let told = fetched(&mut server, ask("/here".to_owned()));
    assert!(told.contains(&format!(r#"GET /here "" ["{basic}", "c", "-", "k"]"#)), "{told:?}");
    // Another port is another origin; and what the Location says of users is not believed.
    let there = other.addr;
    for to in [format!("http://{there}/there"), format!("http://user:pw@{there}/there")] {
        let request = ask(to).header("authorization", "Bearer x");
        server.net().fetch(request, record).unwrap();
        server.until("the other server is asked", |_| {
            other.manager.poll(Some(std::time::Duration::ZERO)).unwrap();
            other.count("GET /there") > 0
        });
        assert_eq!(other.log(), [r#"GET /there "" ["-", "-", "-", "k"]"#]);
        server.until("it has come back", |server| {
            other.manager.poll(Some(std::time::Duration::ZERO)).unwrap();
            server.count("HttpResponse 200") > 0
        });
        other.manager.state_mut().clear();
        server.manager.state_mut().clear();
    }
    // Where it may not go.
    for (to, word) in
        [("https://127.0.0.1/", "TLS"), ("ftp://x/", "unknown scheme"), ("tcp://127.0.0.1:1", "leaves HTTP")]
    {
        let told = fetched(&mut server, ask(to.to_owned()));
        assert!(told.last().unwrap().contains(word), "{to}: {told:?}");
        assert!(!told.iter().any(|line| line.starts_with("HttpResponse")), "{to}: {told:?}");
    }
}

#[test]
fn a_redirect_does_not_wait_for_its_body_and_may_not_be_ambiguous() {
    let mut script = Script::new();
    let url = script.url();
    script.loop_.net().fetch(Request::get(format!("{url}/1")).redirects(1), record).unwrap();
    let mut peer = script.accept();
    script.expect(&mut peer, "\r\n\r\n");
    script.say(&mut peer, b"HTTP/1.1 302 X\r\nLocation: 2\r\nContent-Length: 1000\r\n\r\nhere");
    let mut peer = script.accept();
    assert!(script.expect(&mut peer, "\r\n\r\n").starts_with("GET /2 "));
    script.say(&mut peer, b"HTTP/1.1 204 \r\n\r\n");
    assert_eq!(script.until_closed(), ["HttpResponse 204 ", "Closed: closed by this side"]);

    script.loop_.net().fetch(Request::get(format!("{url}/1")).redirects(1), record).unwrap();
    let mut peer = script.accept();
    script.expect(&mut peer, "\r\n\r\n");
    script.say(&mut peer, b"HTTP/1.1 302 X\r\nLocation: /2\r\nLocation: /3\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(script.until_closed(), ["Closed: given up: a redirect with several Locations"]);
}

#[test]
fn a_proxy_is_told_whole_urls() {
    let mut script = Script::new();
    let proxy = script.url().replace("http://", "http://me:pw@");
    let options = ConnectOptions::new("http://a:b@device.invalid:81").proxy(proxy);
    let id = script.loop_.net().http_connect(options, record).unwrap();
    script.loop_.net().request(id, Request::get("/x?y")).unwrap();
    let mut peer = script.accept();
    let sent = script.expect(&mut peer, "\r\n\r\n");
    let expected = "GET http://device.invalid:81/x?y HTTP/1.1\r\nHost: device.invalid:81\r\n\
        Authorization: Basic YTpi\r\nProxy-Authorization: Basic bWU6cHc=\r\n\r\n";
    assert_eq!(sent, expected);
    script.say(&mut peer, b"HTTP/1.1 204 \r\n\r\n");
    script.loop_.until_logged("HttpResponse 204");
}

/// A client whose tunnel is asked for, and the proxy's end of it.
fn tunnelling(script: &mut Script) -> Client {
    let options = ConnectOptions::new("http://device.invalid").tunnel(script.url().replace("http://", "http://me:pw@"));
    let handler = |cx: &mut Cx<'_>, ev: Event<'_>| {
        if matches!(ev, Event::Connected) {
            cx.state.push("Connected".to_owned());
        }
        record(cx, ev);
    };
    let id = script.loop_.net().http_connect(options, handler).unwrap();
    script.loop_.net().request(id, Request::get("/x")).unwrap();
    let mut peer = script.accept();
    let expected = "CONNECT device.invalid:80 HTTP/1.1\r\nHost: device.invalid:80\r\n\
        Proxy-Authorization: Basic bWU6cHc=\r\n\r\n";
    assert_eq!(script.expect(&mut peer, "\r\n\r\n"), expected);
    script.loop_.settle();
    assert_eq!(script.told(), [""; 0], "nothing is connected before the tunnel stands");
    peer
}

#[test]
fn rfc_9110_9_3_6_a_tunnel_stands_before_anything_else() {
    let mut script = Script::new();
    let mut peer = tunnelling(&mut script);
    script.say(&mut peer, b"HTTP/1.1 200 Connection established\r\nContent-Length: 7\r\n\r\n");
    let sent = script.expect(&mut peer, "\r\n\r\n");
    assert_eq!(sent, "GET /x HTTP/1.1\r\nHost: device.invalid\r\n\r\n", "the proxy's password is not the server's");
    script.say(&mut peer, b"HTTP/1.1 204 \r\n\r\n");
    script.loop_.until_logged("HttpResponse");
    assert_eq!(script.told(), ["Connected", "HttpResponse 204 "]);

    // (what the proxy says, what is told)
    let table: [(&[u8], &str); 3] = [
        (
            b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n",
            "cannot connect to http://device.invalid:80/: the proxy answered 407",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "protocol error: response: bytes that nobody asked for"),
        (b"SOCKS", "protocol error: response: bad HTTP version"),
    ];
    for (bytes, expected) in table {
        let mut script = Script::new();
        let mut peer = tunnelling(&mut script);
        script.say(&mut peer, bytes);
        let told = script.until_closed();
        assert_eq!(told.last().unwrap(), &format!("Closed: {expected}"));
        assert!(!told.iter().any(|line| line.starts_with("HttpResponse")), "{told:?}");
    }
}
