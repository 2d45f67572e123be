//! The example `http_client`, run as a user runs it, against a server of ours.

mod http_support;

use std::process::{Command, Output};

use http_support::{Cx, Server, serve};
use vansire::Event;
use vansire::http::Response;

/// Runs it to its end while the server serves.
fn run(server: &mut Server, args: &[&str]) -> Output {
    let mut program = std::env::current_exe().unwrap();
    program.pop();
    program.pop();
    program.extend(["examples", "http_client"]);
    let args: Vec<String> = args.iter().map(|arg| arg.replace("AT", &format!("http://{}", server.addr))).collect();
    let mut child = Command::new(&program).args(args).stdout(std::process::Stdio::piped()).spawn().unwrap();
    server.until("the program ends", |_| child.try_wait().unwrap().is_some());
    child.wait_with_output().unwrap()
}

#[test]
fn it_prints_what_it_is_told_and_follows_redirects() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        let Event::HttpRequest(request) = ev else { return };
        match request.target() {
            "/moved" => cx.reply(Response::new(302).header("Location", "/new")),
            "/new" => cx.reply(Response::text(200, "new")),
            "/post" => cx.reply(Response::text(201, &format!("got {}", request.body_text().unwrap()))),
            _ => cx.reply(Response::text(404, "not here")),
        };
    });
    // (arguments, what it prints, whether all was well)
    let table: [(&[&str], &str, bool); 4] = [
        (&["AT/moved"], "AT/moved: 200 OK\nnew\n", true),
        (&["--data", "x", "AT/post"], "AT/post: 201 Created\ngot x\n", true),
        (&["AT/x"], "AT/x: 404 Not Found\nnot here\n", false),
        (&["http://127.0.0.1:1/"], "", false),
    ];
    for (args, expected, is_well) in table {
        let output = run(&mut server, args);
        let expected = expected.replace("AT", &format!("http://{}", server.addr));
        assert_eq!(
            (String::from_utf8(output.stdout).unwrap(), output.status.success()),
            (expected, is_well),
            "{args:?}"
        );
    }
}
