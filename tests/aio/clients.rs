//! Requests as futures.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use tokio::sync::oneshot;
use vansire::aio::{HttpClient, SntpClient};
use vansire::http::{Request, Response};
use vansire::{Ctx, Event};

use crate::common::{patient, pattern};
use crate::support::{
    Blocker, Hand, Launch, addr, block_on, counter, eventually, in_each_way, nothing, on_each_runtime, until,
};

/// Counts connections, and answers with what it was asked.
fn mirror(cx: &mut Ctx<'_, u64>, ev: Event<'_>) {
    match ev {
        Event::Accepted { .. } => *cx.state += 1,
        Event::HttpRequest(request) => {
            let status = if request.target() == "/missing" { 404 } else { 200 };
            let response = Response::new(status).header("x-asked", request.target()).body(request.body());
            cx.reply(response);
        }
        _ => {}
    }
}

#[test]
fn requests_one_after_the_other_share_a_connection() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let server = manager.listen("http://127.0.0.1:0", mirror).await.unwrap();
        let base = format!("http://{}", addr(&server));
        let client = HttpClient::new(&manager);
        for _ in 0..3 {
            let response = client.request(Request::get(format!("{base}/a?b=c"))).await.unwrap();
            assert_eq!((response.status, response.header("X-Asked")), (200, Some("/a?b=c")));
        }
        let body = pattern(300_000);
        let response = client.request(Request::post(base.clone()).header("x-more", "1").body(&body)).await.unwrap();
        assert!(response.status == 200 && response.body == body && response.header("x-asked") == Some("/"));
        assert_eq!(client.request(Request::get(format!("{base}/missing"))).await.unwrap().status, 404);
        assert_eq!((manager.with(|cx| *cx.state).await.unwrap(), client.idle()), (1, 1));
        // Two at once need two.
        let url = format!("{base}/x");
        let tasks = [(); 2].map(|()| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move { client.request(Request::get(url)).await.unwrap().status })
        });
        for task in tasks {
            assert_eq!(task.await.unwrap(), 200);
        }
        assert!((1..=2).contains(&client.idle()));
        // The last client closes what it kept.
        drop(client);
        while manager.with(|cx| cx.net.connection_count()).await.unwrap() > 1 {}
    });
}

#[test]
fn what_cannot_be_sent_or_answered_is_an_error_that_says_why() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let client = HttpClient::new(&manager);
        let free = addr(&manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap());
        eventually("the end of the listener", || TcpStream::connect(free).is_err()).await;
        let e = client.request(Request::get("nonsense")).await.unwrap_err();
        assert!(e.is_bad_url(), "{e}");
        let e = client.request(Request::get(format!("http://{free}/"))).await.unwrap_err();
        assert!(e.is_connect(), "{e}");
        let e = client.request(Request::get("https://127.0.0.1/")).await.unwrap_err();
        assert!(e.is_unsupported(), "{e}");
        let e = client.request(Request::post("http://127.0.0.1/").streamed(None)).await.unwrap_err();
        assert!(e.is_unsupported(), "{e}");
        let e = client.request(Request::get(format!("http://{free}/")).header("a b", "c")).await.unwrap_err();
        assert!(e.is_bad_value(), "{e}");
        manager.shutdown().await;
        assert!(client.request(Request::get("http://127.0.0.1/")).await.unwrap_err().is_stopped());
    });
}

/// Reads one head.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// RFC 9110 §9.2.2: a GET on an idle connection that the server closes meanwhile is sent again, a POST is not.
#[test]
fn an_idle_connection_that_was_closed_costs_a_repeatable_request_nothing() {
    for (method, repeats) in [("GET", true), ("POST", false)] {
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let server = std::thread::spawn(move || {
                let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                let mut stream = listener.accept().unwrap().0;
                patient(&stream);
                head(&mut stream);
                stream.write_all(reply).unwrap();
                // It reads the next request, and closes without an answer.
                head(&mut stream);
                drop(stream);
                if repeats {
                    let mut stream = listener.accept().unwrap().0;
                    patient(&stream);
                    head(&mut stream);
                    stream.write_all(reply).unwrap();
                }
            });
            let manager = counter().launch().await.unwrap();
            let client = HttpClient::new(&manager);
            assert_eq!(client.request(Request::get(url.clone())).await.unwrap().text(), Some("ok"));
            assert_eq!(client.idle(), 1);
            let result = client.request(Request::of(method, url)).await;
            match repeats {
                true => assert_eq!(result.unwrap().text(), Some("ok")),
                false => assert!(result.unwrap_err().is_gone()),
            }
            server.join().unwrap();
        });
    }
}

#[test]
fn a_request_that_is_dropped_closes_its_connection_and_one_that_was_answered_does_not() {
    on_each_runtime(|| async {
        let manager = counter().launch().await.unwrap();
        let (tell, asked) = oneshot::channel();
        let mut tell = Some(tell);
        let server = manager
            .listen("http://127.0.0.1:0", move |cx: &mut Ctx<'_, u64>, ev: Event<'_>| match ev {
                Event::HttpRequest(request) if request.target() == "/slow" => {
                    cx.defer();
                    let _ = tell.take().map(|tell: oneshot::Sender<()>| tell.send(()));
                }
                Event::HttpRequest(_) => _ = cx.reply(Response::text(200, "soon")),
                _ => {}
            })
            .await
            .unwrap();
        let base = format!("http://{}", addr(&server));
        let client = HttpClient::new(&manager);
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        let mut slow = Hand::new(client.request(Request::get(format!("{base}/slow"))));
        assert!(slow.poll().is_pending());
        blocker.release();
        slow.wait_for_wakes(1);
        // It has been sent; the answer is what it waits for now.
        assert!(slow.poll().is_pending());
        asked.await.unwrap();
        drop(slow);
        // The server's side may still want to answer: a client that has closed its side may listen.
        while manager.with(|cx| cx.net.connection_count()).await.unwrap() > 2 {}
        assert_eq!(client.idle(), 0);
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        let mut soon = Hand::new(client.request(Request::get(format!("{base}/soon"))));
        assert!(soon.poll().is_pending());
        blocker.release();
        soon.wait_for_wakes(1);
        let _ = soon.poll();
        until("the answer", || client.idle() == 1);
        drop(soon);
        assert_eq!(client.request(Request::get(base)).await.unwrap().text(), Some("soon"));
        assert_eq!(client.idle(), 1);
    });
}

#[cfg(feature = "sntp")]
#[test]
fn a_time_server_is_asked_and_its_silence_is_an_error() {
    use vansire::sntp::ClientOptions;
    on_each_runtime(|| async {
        let manager = counter().launch().await.unwrap();
        let server = manager.with(|cx| {
            let id = cx.net.sntp_listen("sntp://127.0.0.1:0", nothing).unwrap();
            cx.net.local_addr(id).unwrap().to_string()
        });
        let server = server.await.unwrap();
        let client = SntpClient::new(&manager, format!("sntp://{server}"));
        // Also a client that is to ask again and again asks once for each query.
        let every = ClientOptions::new(format!("sntp://{server}")).every(crate::support::ms(64_000));
        for client in [client.clone(), client, SntpClient::new(&manager, every)] {
            let sample = client.query().await.unwrap();
            assert!(sample.offset.as_secs_f64().abs() < 1.0, "{sample:?}");
        }
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let url = format!("sntp://{}", silent.local_addr().unwrap());
        let client = SntpClient::new(&manager, ClientOptions::new(url).timeout(crate::support::ms(20)).tries(1));
        let e = client.query().await.unwrap_err();
        assert!(e.is_timed_out(), "{e}");
        let client = SntpClient::new(&manager, format!("sntp://{}", silent.local_addr().unwrap()));
        // Held up, so that its first wake is that of the socket.
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        blocker.wait_until_inside();
        let mut dropped = Hand::new(client.query());
        assert!(dropped.poll().is_pending());
        blocker.release();
        dropped.wait_for_wakes(1);
        let answer = dropped.poll();
        assert!(answer.is_pending(), "{answer:?}");
        drop(dropped);
        while manager.with(|cx| cx.net.connection_count()).await.unwrap() > 1 {}
    });
}

/// RFC 5905 §7.4.
#[cfg(feature = "sntp")]
#[test]
fn a_time_server_that_does_not_want_to_be_asked_is_not() {
    // (what it says, what the error is)
    type Row = (&'static [u8; 4], fn(&vansire::Error) -> bool);
    let table: [Row; 3] = [
        (b"DENY", vansire::Error::is_permission_denied),
        (b"RSTR", vansire::Error::is_permission_denied),
        (b"RATE", vansire::Error::is_limit_reached),
    ];
    for (kiss, expected) in table {
        block_on(async {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(crate::common::DEADLINE)).unwrap();
            let url = format!("sntp://{}", socket.local_addr().unwrap());
            let server = std::thread::spawn(move || {
                let mut packet = [0; 48];
                let (_, from) = socket.recv_from(&mut packet).unwrap();
                let cookie = packet[40..48].to_vec();
                packet[0] = 0xe4;
                packet[12..16].copy_from_slice(kiss);
                packet[24..32].copy_from_slice(&cookie);
                socket.send_to(&packet, from).unwrap();
                socket
            });
            let manager = counter().launch().await.unwrap();
            let client = SntpClient::new(&manager, url);
            let e = client.query().await.unwrap_err();
            assert!(expected(&e), "{kiss:?}: {e}");
            let e = client.clone().query().await.unwrap_err();
            assert!(expected(&e) && e.to_string().contains("not asked"), "{kiss:?}: {e}");
            let socket = server.join().unwrap();
            socket.set_nonblocking(true).unwrap();
            assert!(socket.recv_from(&mut [0; 48]).is_err(), "{kiss:?}: it was asked again");
        });
    }
}
