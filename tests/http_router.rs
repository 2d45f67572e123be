//! The router over real sockets: answers of its own, bodies by route, other events.

mod http_support;

use http_support::{Cx, Server, describe, serve};
use vansire::Event;
use vansire::http::{Body, Response, Router};

fn router() -> Router<http_support::Log> {
    Router::<http_support::Log>::new()
        .get("/", |cx, _, _| {
            cx.reply(Response::text(200, "root"));
        })
        .get("/users/:id", |cx, request, params| {
            let text = format!("{} {}", request.method(), params.get("id").unwrap());
            cx.reply(Response::text(200, &text));
        })
        .delete("/users/:id", |cx, _, _| {
            cx.reply(Response::new(204));
        })
        .post("/small", |cx, request, _| {
            cx.reply(Response::text(200, request.body_text().unwrap()));
        })
        .body(Body::CollectUpTo(5))
        .stream(
            "PUT",
            "/stream/*path",
            |cx, piece| cx.state.push(format!("piece {}", String::from_utf8_lossy(piece))),
            |cx, request, params| {
                assert!(request.body().is_empty());
                cx.reply(Response::text(201, &params.get("path").unwrap()));
            },
        )
        .otherwise(|cx, ev| cx.state.push(describe(&ev)))
}

fn serving(router: Router<http_support::Log>) -> Server {
    serve(router.into_handler().unwrap())
}

#[test]
fn requests_reach_their_route_and_the_rest_is_answered() {
    let mut server = serving(router());
    let table: [(&str, u16, &str, Option<&str>); 9] = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "root", None),
        ("GET /users/a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 200, "GET a/b", None),
        ("HEAD /users/7 HTTP/1.1\r\nHost: a\r\n\r\n", 200, "", None),
        ("DELETE /users/7 HTTP/1.1\r\nHost: a\r\n\r\n", 204, "", None),
        ("GET /nope HTTP/1.1\r\nHost: a\r\n\r\n", 404, "Not found.\n", None),
        ("GET /users/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "Bad path.\n", None),
        ("PUT /users/7 HTTP/1.1\r\nHost: a\r\n\r\n", 405, "Method not allowed.\n", Some("DELETE, GET, HEAD, OPTIONS")),
        ("OPTIONS /users/7 HTTP/1.1\r\nHost: a\r\n\r\n", 204, "", Some("DELETE, GET, HEAD, OPTIONS")),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204, "", Some("DELETE, GET, HEAD, OPTIONS, POST, PUT")),
    ];
    let mut client = server.connect();
    for (request, status, text, allow) in table {
        let reply = server.ask(&mut client, request.as_bytes());
        assert_eq!((reply.status, reply.text().as_str()), (status, text), "{request}");
        assert_eq!(reply.header("allow"), allow, "{request}");
    }
}

#[test]
fn a_body_that_no_route_takes_is_refused_at_its_head() {
    for (request, status) in [
        ("POST /nope HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n", 404),
        ("POST /users/7 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 405),
        ("POST /%zz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", 400),
    ] {
        let mut server = serving(router());
        let mut client = server.connect();
        let reply = server.ask(&mut client, request.as_bytes());
        assert_eq!((reply.status, reply.closes()), (status, true), "{request}");
        assert_eq!(server.count("Http"), 0, "{request}");
    }
    // One that is there already costs nothing to skip.
    let mut server = serving(router());
    let mut client = server.connect();
    let reply = server.ask(&mut client, b"POST /nope HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((reply.status, reply.closes()), (404, false));
    assert_eq!(server.ask(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "root");
}

#[test]
fn each_route_has_its_own_way_with_bodies() {
    let mut server = serving(router());
    let mut client = server.connect();
    let post = |body: &str| format!("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(server.ask(&mut client, post("hello").as_bytes()).text(), "hello");
    let head = b"PUT /stream/a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello";
    server.send(&mut client, head);
    server.until_logged("piece");
    let reply = server.ask(&mut client, b" world");
    assert_eq!((reply.status, reply.text().as_str()), (201, "a/b"));
    let pieces: String = server.log().iter().filter_map(|line| line.strip_prefix("piece ")).collect();
    assert_eq!(pieces, "hello world");
    // A request of another route behind it gets no pieces of its.
    assert_eq!(server.ask(&mut client, post("again").as_bytes()).text(), "again");
    assert_eq!(server.ask(&mut client, post("too long").as_bytes()).status, 413);
}

#[test]
fn the_rest_of_the_events_goes_where_it_was_asked_to() {
    let mut server = serving(router());
    server.until_logged("Opened");
    let mut client = server.connect();
    server.ask(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    drop(client);
    server.until_logged("Closed");
    let told: Vec<_> = server.log().iter().skip_while(|line| *line != "Accepted").collect();
    assert_eq!(told, ["Accepted", "HttpHead GET /", "Closed: closed by the peer"]);
}

#[test]
fn what_is_not_found_may_have_an_answer_of_its_own() {
    let answer = |cx: &mut Cx<'_>, request: &vansire::http::Request<'_>| {
        let text = format!("no {}: {}", request.target(), request.body_text().unwrap());
        cx.reply(Response::text(404, &text));
    };
    let mut server = serving(router().not_found(answer));
    let mut client = server.connect();
    for body in ["", "hello"] {
        let request = format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let reply = server.ask(&mut client, request.as_bytes());
        assert_eq!((reply.status, reply.text()), (404, format!("no /x: {body}")));
    }
}

#[test]
fn other_events_may_refuse_a_request_at_its_head() {
    let guarded = router().otherwise(|cx, ev| {
        if let Event::HttpHead(request) = ev
            && request.header("authorization").is_none()
        {
            cx.reply(Response::new(401).header("WWW-Authenticate", "Basic"));
        }
    });
    let mut server = serving(guarded);
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 401);
    assert_eq!(
        server.ask(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eDp5\r\n\r\n").text(),
        "root"
    );
}

#[test]
fn connections_share_a_router_and_not_their_streams() {
    let mut server = serving(router());
    let (mut a, mut b) = (server.connect(), server.connect());
    server.send(&mut a, b"PUT /stream/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1");
    server.until_logged("piece 1");
    let other = b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nbb";
    assert_eq!(server.ask(&mut b, other).text(), "bb");
    assert_eq!(server.ask(&mut a, b"2").text(), "a");
    assert_eq!(server.count("piece"), 2);
}
