//! Routing: which handler serves a request, by method and path.

use std::borrow::Cow;
use std::fmt;

use crate::error::{Error, Kind};
use crate::event::Event;
use crate::id::ConnMap;
use crate::proto::http::{BodyLen, Request, Response, percent_decode};

use super::ctx::Ctx;
use super::handlers::Handler;
use super::http::Body;

/// Serves requests by method and path, each route with a handler of its own.
///
/// A pattern is a path, written decoded: `/users/:id/posts` takes any one segment that is not empty as `id`; a last
/// segment `*rest` takes all that is left, which may be nothing, slashes included. Where several routes match, at the
/// first segment in which they differ a literal one wins over `:name`, and that over `*rest`. Segments are split before
/// they are decoded: `%2F` is a part of its segment. `/a` and `/a/` are two paths, and `..` is a segment like others.
///
/// What no route matches is answered 404; a path that has routes, but none of the method, 405 with `Allow`; a path with a
/// bad escape 400. HEAD is served by the route of GET where it has none of its own, and OPTIONS answered with `Allow`.
/// Where a body is on its way, these answers do not wait for it.
///
/// ```
/// use vansire::http::{Body, Response, Router};
/// use vansire::{Event, Manager};
///
/// # fn main() -> vansire::Result<()> {
/// let router = Router::new()
///     .get("/", |cx, _, _| {
///         cx.reply(Response::text(200, "hello\n"));
///     })
///     .get("/users/:id", |cx, _, params| {
///         let id = params.get("id").unwrap_or_default();
///         cx.reply(Response::text(200, &format!("user {id}\n")));
///     })
///     .put("/files/*path", |cx, request, _| {
///         *cx.state += request.body().len();
///         cx.reply(Response::new(204));
///     })
///     .body(Body::CollectUpTo(16 << 20))
///     .otherwise(|_, ev| {
///         if let Event::Closed(reason) = ev {
///             eprintln!("{reason}");
///         }
///     });
/// let mut manager = Manager::new(0)?;
/// manager.net().listen("http://127.0.0.1:0", router.into_handler()?)?;
/// # Ok(()) }
/// ```
///
/// Choosing a route costs about one search among the literals for each segment of the path, and allocates nothing where the
/// path has no escapes.
#[must_use]
pub struct Router<S> {
    nodes: Vec<Node>,
    routes: Vec<Route<S>>,
    not_found: Option<BoxServe<S>>,
    otherwise: Option<Box<dyn Handler<S>>>,
    /// What is wrong with the first bad route.
    error: Option<Error>,
}

/// What a pattern's `:name` and `*name` stood for in the path of a request.
#[derive(Clone, Copy)]
pub struct Params<'r> {
    names: &'r [Box<str>],
    values: [&'r str; PARAMS_MAX],
}

/// Parameters of one pattern.
const PARAMS_MAX: usize = 16;

type BoxServe<S> = Box<dyn FnMut(&mut Ctx<'_, S>, &Request<'_>, &Params<'_>)>;
type BoxPiece<S> = Box<dyn FnMut(&mut Ctx<'_, S>, &[u8])>;

/// What is wrong with a pattern.
type BadPattern = &'static str;

struct Route<S> {
    names: Vec<Box<str>>,
    serve: BoxServe<S>,
    piece: Option<BoxPiece<S>>,
    body: Body,
}

/// A place in the tree of segments.
#[derive(Default)]
struct Node {
    /// The literal segments that may follow, in order.
    literals: Vec<(Box<str>, usize)>,
    param: Option<usize>,
    /// Routes that end in a rest here.
    rest: Methods,
    /// Routes that end here.
    here: Methods,
}

/// The routes of one pattern, by method. No method is any.
#[derive(Default)]
struct Methods(Vec<(Option<Box<str>>, usize)>);

impl<S> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Router<S> {
    /// A router without routes: everything is 404.
    pub fn new() -> Self {
        Self { nodes: vec![Node::default()], routes: Vec::new(), not_found: None, otherwise: None, error: None }
    }

    /// Serves GET, and HEAD where it has no route of its own, at this pattern.
    pub fn get(self, pattern: &str, serve: impl FnMut(&mut Ctx<'_, S>, &Request<'_>, &Params<'_>) + 'static) -> Self {
        self.route("GET", pattern, serve)
    }

    /// Serves POST at this pattern.
    pub fn post(self, pattern: &str, serve: impl FnMut(&mut Ctx<'_, S>, &Request<'_>, &Params<'_>) + 'static) -> Self {
        self.route("POST", pattern, serve)
    }

    /// Serves PUT at this pattern.
    pub fn put(self, pattern: &str, serve: impl FnMut(&mut Ctx<'_, S>, &Request<'_>, &Params<'_>) + 'static) -> Self {
        self.route("PUT", pattern, serve)
    }

    /// Serves PATCH at this pattern.
    pub fn patch(self, pattern: &str, serve: impl FnMut(&mut Ctx<'_, S>, &Request<'_>, &Params<'_>) + 'static) -> Self {
        self.route("PATCH", pattern, serve)
    }

    /// Serves DELETE at this pattern.
    pub fn delete(
        self,
        pattern: &str,
        serve: impl FnMut(&mut Ctx<'_, S>, &Request<'_>, &Params<'_>) + 'static,
    ) -> Self {
        self.route("DELETE", pattern, serve)
    }

    /// Serves the methods that have no route of their own at this pattern.
    pub fn any(self, pattern: &str, serve: impl FnMut(&mut Ctx<'_, S>, &Request<'_>, &Params<'_>) + 'static) -> Self {
        self.add(None, pattern, Box::new(serve), None)
    }

    /// Serves a method, which is case-sensitive, at this pattern.
    pub fn route(
        self,
        method: &str,
        pattern: &str,
        serve: impl FnMut(&mut Ctx<'_, S>, &Request<'_>, &Params<'_>) + 'static,
    ) -> Self {
        self.add(Some(method), pattern, Box::new(serve), None)
    }

    /// Serves a method at this pattern and takes bodies as they come, of any size: `piece` is told each piece, then `serve`
    /// the request without a body. `pause_read` holds the sender back.
    pub fn stream(
        self,
        method: &str,
        pattern: &str,
        piece: impl FnMut(&mut Ctx<'_, S>, &[u8]) + 'static,
        serve: impl FnMut(&mut Ctx<'_, S>, &Request<'_>, &Params<'_>) + 'static,
    ) -> Self {
        self.add(Some(method), pattern, Box::new(serve), Some(Box::new(piece)))
    }

    /// How bodies come to the route that was added last. `Body::Stream` is for [`stream`](Self::stream) and changes
    /// nothing here.
    pub fn body(mut self, body: Body) -> Self {
        if let Some(route) = self.routes.last_mut()
            && route.piece.is_none()
            && body != Body::Stream
        {
            route.body = body;
        }
        self
    }

    /// Answers what no route matches.
    pub fn not_found(mut self, serve: impl FnMut(&mut Ctx<'_, S>, &Request<'_>) + 'static) -> Self {
        let mut serve = serve;
        self.not_found = Some(Box::new(move |cx, request, _| serve(cx, request)));
        self
    }

    /// Is told of everything but requests and pieces of their bodies. Also of `HttpHead`, unless the router has answered
    /// there: an answer of its own refuses the request.
    pub fn otherwise(mut self, handler: impl Handler<S> + 'static) -> Self {
        self.otherwise = Some(Box::new(handler));
        self
    }

    /// The handler for `listen`. Fails where a pattern is malformed, or two routes have the same method and pattern: the
    /// error names it ([`is_bad_value`](Error::is_bad_value)).
    pub fn into_handler(mut self) -> crate::Result<impl Handler<S> + 'static>
    where
        S: 'static,
    {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut streaming = ConnMap::new();
        Ok(move |cx: &mut Ctx<'_, S>, ev: Event<'_>| self.handle(cx, ev, &mut streaming))
    }

    fn add(mut self, method: Option<&str>, pattern: &str, serve: BoxServe<S>, piece: Option<BoxPiece<S>>) -> Self {
        let route = self.routes.len();
        match self.insert(method, pattern, route) {
            Ok(names) => {
                let body = if piece.is_some() { Body::Stream } else { Body::Collect };
                self.routes.push(Route { names, serve, piece, body });
            }
            Err(what) => {
                let name = method.unwrap_or("any method");
                let error = || Error::new(Kind::BadValue, format!("cannot route {name} {pattern:?}: {what}"));
                self.error.get_or_insert_with(error);
            }
        }
        self
    }

    /// Puts a pattern into the tree; answers the names of its parameters.
    fn insert(&mut self, method: Option<&str>, pattern: &str, route: usize) -> Result<Vec<Box<str>>, BadPattern> {
        if method.is_some_and(|method| !is_method(method)) {
            return Err("the method is not a token");
        }
        let segments = pattern.strip_prefix('/').ok_or("a pattern begins with a slash")?;
        if segments.contains(['?', '#']) {
            return Err("a pattern is a path: no query, no fragment");
        }
        let mut names: Vec<&str> = Vec::new();
        let mut node = 0;
        let mut segments = segments.split('/').peekable();
        let methods = loop {
            let Some(segment) = segments.next() else { break &mut self.nodes[node].here };
            let name = match segment.as_bytes().first() {
                Some(b':' | b'*') => &segment[1..],
                _ => {
                    node = self.literal(node, segment);
                    continue;
                }
            };
            if name.is_empty() || names.contains(&name) {
                return Err("each parameter has a name, and no other the same");
            }
            if names.len() == PARAMS_MAX {
                return Err("more parameters than sixteen");
            }
            names.push(name);
            if segment.starts_with('*') {
                if segments.peek().is_some() {
                    return Err("a rest must come last");
                }
                break &mut self.nodes[node].rest;
            }
            node = self.param(node);
        };
        if methods.0.iter().any(|(other, _)| other.as_deref() == method) {
            return Err("there is such a route already");
        }
        methods.0.push((method.map(Into::into), route));
        Ok(names.into_iter().map(Into::into).collect())
    }

    /// The place behind a literal segment.
    fn literal(&mut self, node: usize, segment: &str) -> usize {
        let new = self.nodes.len();
        match self.nodes[node].literals.binary_search_by(|(text, _)| (**text).cmp(segment)) {
            Ok(at) => return self.nodes[node].literals[at].1,
            Err(at) => self.nodes[node].literals.insert(at, (segment.into(), new)),
        }
        self.nodes.push(Node::default());
        new
    }

    /// The place behind a parameter.
    fn param(&mut self, node: usize) -> usize {
        let new = self.nodes.len();
        let param = *self.nodes[node].param.get_or_insert(new);
        if param == new {
            self.nodes.push(Node::default());
        }
        param
    }

    fn handle(&mut self, cx: &mut Ctx<'_, S>, ev: Event<'_>, streaming: &mut ConnMap<usize>) {
        match ev {
            Event::HttpRequest(request) => {
                streaming.remove(cx.conn);
                self.serve(cx, request);
            }
            Event::HttpBody(bytes) => {
                let route = streaming.get(cx.conn).and_then(|&route| self.routes.get_mut(route));
                if let Some(piece) = route.and_then(|route| route.piece.as_mut()) {
                    piece(cx, bytes);
                }
            }
            // Where there is no body to choose for, the route is looked for once, when the request is there.
            Event::HttpHead(request) if !matches!(request.body_len(), BodyLen::None | BodyLen::Length(0)) => {
                match find(&self.nodes, request) {
                    Found::Route(route, _) => {
                        let body = self.routes[route].body;
                        if body == Body::Stream {
                            streaming.insert(cx.conn, route);
                        }
                        cx.body(body);
                    }
                    Found::Nothing if self.not_found.is_some() => {}
                    found @ (Found::Nothing | Found::Allow(_) | Found::BadPath) => return found.refuse(cx, request),
                }
                self.tell(cx, ev);
            }
            other => self.tell(cx, other),
        }
    }

    fn tell(&mut self, cx: &mut Ctx<'_, S>, ev: Event<'_>) {
        if let Some(otherwise) = &mut self.otherwise {
            otherwise(cx, ev);
        }
    }

    fn serve(&mut self, cx: &mut Ctx<'_, S>, request: &Request<'_>) {
        match (find(&self.nodes, request), &mut self.not_found) {
            (Found::Route(route, values), _) => {
                let route = &mut self.routes[route];
                (route.serve)(cx, request, &Params { names: &route.names, values });
            }
            (Found::Nothing, Some(not_found)) => not_found(cx, request, &Params { names: &[], values: NO_VALUES }),
            (found @ (Found::Nothing | Found::Allow(_) | Found::BadPath), _) => found.refuse(cx, request),
        }
    }
}

impl<'r> Params<'r> {
    /// The parameter of this name, decoded. None where the pattern has none of it.
    pub fn get(&self, name: &str) -> Option<Cow<'r, str>> {
        // A path that cannot be decoded has been refused.
        self.raw(name).map(|value| percent_decode(value).unwrap_or(Cow::Borrowed(value)))
    }

    /// The same as it came, with its escapes: what a rest must be split by, because `%2F` is no separator.
    pub fn raw(&self, name: &str) -> Option<&'r str> {
        self.names.iter().position(|other| **other == *name).map(|at| self.values[at])
    }

    /// Names and values in the order of the pattern, decoded.
    pub fn iter(&self) -> impl Iterator<Item = (&'r str, Cow<'r, str>)> + use<'r> {
        let this = *self;
        this.names.iter().filter_map(move |name| Some((&**name, this.get(name)?)))
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

const NO_VALUES: [&str; PARAMS_MAX] = [""; PARAMS_MAX];

/// What the routes have for a request.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it is made and taken apart on the stack, once for a request")]
enum Found<'r> {
    /// This one, with the values of its parameters.
    Route(usize, [&'r str; PARAMS_MAX]),
    /// None of this method: those that there are.
    Allow(String),
    Nothing,
    BadPath,
}

impl Found<'_> {
    #[cold]
    fn refuse<S>(self, cx: &mut Ctx<'_, S>, request: &Request<'_>) {
        let response = match &self {
            Found::Allow(methods) if request.method() == "OPTIONS" => Response::new(204).header("Allow", methods),
            Found::Allow(methods) => Response::text(405, "Method not allowed.\n").header("Allow", methods),
            Found::BadPath => Response::text(400, "Bad path.\n"),
            Found::Route(..) | Found::Nothing => Response::text(404, "Not found.\n"),
        };
        cx.reply(response);
    }
}

fn find<'r>(nodes: &[Node], request: &Request<'r>) -> Found<'r> {
    let (method, path) = (request.method(), request.head().raw_path());
    let Some(segments) = path.strip_prefix('/') else {
        // RFC 9110 §9.3.7: `OPTIONS *` asks for the server as a whole.
        let all = |nodes: &[Node]| allowed(nodes.iter().flat_map(|node| [&node.here, &node.rest]));
        return if path == "*" { Found::Allow(all(nodes)) } else { Found::Nothing };
    };
    // Borrows, and cannot fail, where there is nothing to decode.
    if request.head().path().is_err() {
        return Found::BadPath;
    }
    let mut search = Search { nodes, method, values: NO_VALUES, met: Vec::new() };
    match search.descend(0, Some(segments), 0) {
        Some(route) => Found::Route(route, search.values),
        None if search.met.is_empty() => Found::Nothing,
        None => Found::Allow(allowed(search.met.into_iter())),
    }
}

/// The methods of these routes as a list (RFC 9110 §10.2.1).
#[cold]
fn allowed<'n>(all: impl Iterator<Item = &'n Methods>) -> String {
    let mut names: Vec<&str> = all.flat_map(|methods| &methods.0).filter_map(|(name, _)| name.as_deref()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

struct Search<'n, 'r> {
    nodes: &'n [Node],
    method: &'r str,
    values: [&'r str; PARAMS_MAX],
    /// Patterns that match the path and have no route of the method. Not allocated while it is empty.
    met: Vec<&'n Methods>,
}

impl<'n, 'r> Search<'n, 'r> {
    /// Looks for the rest of the path below a node. A node stands at one depth of the tree, so each is visited once.
    fn descend(&mut self, at: usize, rest: Option<&'r str>, params: usize) -> Option<usize> {
        let nodes = self.nodes;
        let node = &nodes[at];
        let Some(rest) = rest else { return self.choose(&node.here) };
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        if let Some(next) = node.literal(segment)
            && let Some(route) = self.descend(next, after, params)
        {
            return Some(route);
        }
        if let Some(next) = node.param.filter(|_| !segment.is_empty()) {
            self.values[params] = segment;
            if let Some(route) = self.descend(next, after, params + 1) {
                return Some(route);
            }
        }
        let route = self.choose(&node.rest)?;
        self.values[params] = rest;
        Some(route)
    }

    fn choose(&mut self, methods: &'n Methods) -> Option<usize> {
        let route = methods.choose(self.method);
        if route.is_none() && !methods.0.is_empty() {
            self.met.push(methods);
        }
        route
    }
}

impl Node {
    fn literal(&self, segment: &str) -> Option<usize> {
        if self.literals.is_empty() {
            return None;
        }
        let text = percent_decode(segment).ok()?;
        let at = self.literals.binary_search_by(|(literal, _)| (**literal).cmp(&*text)).ok()?;
        Some(self.literals[at].1)
    }
}

impl Methods {
    fn choose(&self, method: &str) -> Option<usize> {
        let of = |wanted: Option<&str>| self.0.iter().find(|(name, _)| name.as_deref() == wanted).map(|(_, at)| *at);
        of(Some(method)).or_else(|| if method == "HEAD" { of(Some("GET")) } else { None }).or_else(|| of(None))
    }
}

/// A token (RFC 9110 §5.6.2).
fn is_method(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::HeadLimits;
    use crate::proto::http::head::{HeaderSpace, Scan, parse};

    const PATTERNS: &[(&str, &str)] = &[
        ("GET", "/"),
        ("GET", "/users"),
        ("POST", "/users"),
        ("GET", "/users/"),
        ("GET", "/users/:id"),
        ("PUT", "/users/:name"),
        ("POST", "/users/me"),
        ("GET", "/users/:id/posts/:post"),
        ("GET", "/users/me/likes"),
        ("GET", "/files/*path"),
        ("GET", "/files/special"),
        ("GET", "/files/:name/raw"),
        ("any", "/any/:x"),
        ("DELETE", "/any/:x"),
        ("GET", "/ä b/c"),
        ("OPTIONS", "/own"),
        ("HEAD", "/own"),
        ("GET", "/own"),
    ];

    fn router() -> Router<()> {
        PATTERNS.iter().fold(Router::new(), |router, (method, pattern)| match *method {
            "any" => router.any(pattern, |_, _, _| {}),
            method => router.route(method, pattern, |_, _, _| {}),
        })
    }

    /// The route that is found, with its parameters, or what is found instead.
    fn found(router: &Router<()>, method: &str, target: &str) -> String {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut space = HeaderSpace::new();
        let parsed = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space);
        let request = Request::new(parsed.unwrap().unwrap().0, &[], None);
        match find(&router.nodes, &request) {
            Found::Route(route, values) => {
                let (method, pattern) = PATTERNS[route];
                let params = Params { names: &router.routes[route].names, values };
                params.iter().fold(format!("{method} {pattern}"), |all, (name, value)| format!("{all} {name}={value}"))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn literals_win_over_parameters_and_those_over_a_rest() {
        let router = router();
        let table = [
            ("GET", "/", "GET /"),
            ("GET", "/?x=/users", "GET /"),
            ("GET", "/users", "GET /users"),
            ("HEAD", "/users", "GET /users"),
            ("POST", "/users", "POST /users"),
            ("GET", "/users/", "GET /users/"),
            ("GET", "/users/7", "GET /users/:id id=7"),
            ("PUT", "/users/7", "PUT /users/:name name=7"),
            ("POST", "/users/me", "POST /users/me"),
            // The literal has no such method: the parameter has.
            ("GET", "/users/me", "GET /users/:id id=me"),
            ("GET", "/users/me/likes", "GET /users/me/likes"),
            // The literal leads nowhere: back to the parameter.
            ("GET", "/users/me/posts/1", "GET /users/:id/posts/:post id=me post=1"),
            ("GET", "/users/7/posts/", "Nothing"),
            ("GET", "/users//posts/1", "Nothing"),
            ("GET", "/users/7/likes", "Nothing"),
            ("GET", "/users/7/posts/1/2", "Nothing"),
            ("GET", "/files/a/b", "GET /files/*path path=a/b"),
            ("GET", "/files/", "GET /files/*path path="),
            ("GET", "/files", "Nothing"),
            ("GET", "/files/special", "GET /files/special"),
            ("GET", "/files/special/", "GET /files/*path path=special/"),
            ("GET", "/files/x/raw", "GET /files/:name/raw name=x"),
            ("GET", "/files/x/rare", "GET /files/*path path=x/rare"),
            ("GET", "/files//a", "GET /files/*path path=/a"),
            ("FROB", "/any/1", "any /any/:x x=1"),
            ("HEAD", "/any/1", "any /any/:x x=1"),
            ("DELETE", "/any/1", "DELETE /any/:x x=1"),
            ("HEAD", "/own", "HEAD /own"),
            ("OPTIONS", "/own", "OPTIONS /own"),
            ("GET", "//", "Nothing"),
            ("GET", "/nope", "Nothing"),
            ("GET", "/USERS", "Nothing"),
            ("GET", "http://h/users/7?x", "GET /users/:id id=7"),
            ("GET", "http://h", "GET /"),
            ("CONNECT", "h:443", "Nothing"),
        ];
        for (method, target, expected) in table {
            assert_eq!(found(&router, method, target), expected, "{method} {target}");
        }
    }

    #[test]
    fn segments_are_split_before_they_are_decoded() {
        let router = router();
        let table = [
            ("/users/a%2Fb", "GET /users/:id id=a/b"),
            ("/users%2Fme", "Nothing"),
            ("/users/%6De/likes", "GET /users/me/likes"),
            ("/%C3%A4%20b/c", "GET /ä b/c"),
            ("/users/%2e%2e", "GET /users/:id id=.."),
            ("/files/a%2fb/c%20d", "GET /files/*path path=a/b/c d"),
            ("/users/a+b", "GET /users/:id id=a+b"),
            ("/users/%", "BadPath"),
            ("/users/%zz", "BadPath"),
            ("/users/%ff", "BadPath"),
            ("/nope/%00", "BadPath"),
        ];
        for (target, expected) in table {
            assert_eq!(found(&router, "GET", target), expected, "{target}");
        }
    }

    #[test]
    fn rfc_9110_15_5_6_the_allowed_methods_are_told() {
        let router = router();
        let table = [
            ("DELETE", "/users", "GET, HEAD, OPTIONS, POST"),
            ("get", "/users", "GET, HEAD, OPTIONS, POST"),
            ("OPTIONS", "/users", "GET, HEAD, OPTIONS, POST"),
            // Of all routes that match the path.
            ("DELETE", "/users/me", "GET, HEAD, OPTIONS, POST, PUT"),
            ("POST", "/files/special", "GET, HEAD, OPTIONS"),
            ("OPTIONS", "*", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),
        ];
        for (method, target, expected) in table {
            assert_eq!(found(&router, method, target), format!("Allow({expected:?})"), "{method} {target}");
        }
    }

    #[test]
    fn a_route_that_cannot_be_is_an_error_that_names_it() {
        let add = |method: &str, pattern: &str| router().route(method, pattern, |_, _, _| {});
        let table = [
            ("GET", "/users", "there is such a route already"),
            ("GET", "/users/:other", "there is such a route already"),
            ("GET", "/files/*other", "there is such a route already"),
            ("GET", "users", "a pattern begins with a slash"),
            ("GET", "", "a pattern begins with a slash"),
            ("GET", "/a?b", "a pattern is a path"),
            ("GET", "/:", "each parameter has a name"),
            ("GET", "/*", "each parameter has a name"),
            ("GET", "/:a/:a", "each parameter has a name"),
            ("GET", "/*a/b", "a rest must come last"),
            ("G T", "/a", "the method is not a token"),
            ("", "/a", "the method is not a token"),
        ];
        for (method, pattern, expected) in table {
            let error = add(method, pattern).into_handler().err().unwrap();
            let named = format!("cannot route {method} {pattern:?}: {expected}");
            assert!(error.is_bad_value() && error.to_string().starts_with(&named), "{error}");
        }
        let many = (0..=PARAMS_MAX).map(|i| format!("/:{i}")).collect::<String>();
        assert!(add("GET", &many).into_handler().is_err());
        assert!(router().any("/any/:y", |_, _, _| {}).into_handler().is_err());
        assert!(router().into_handler().is_ok());
    }

    #[test]
    fn sixteen_parameters_are_kept() {
        let pattern = (0..PARAMS_MAX).map(|i| format!("/:p{i}")).collect::<String>();
        let path = (0..PARAMS_MAX).map(|i| format!("/{i}")).collect::<String>();
        let router = Router::<()>::new().get(&pattern, |_, _, _| {});
        let expected = (0..PARAMS_MAX).map(|i| format!(" p{i}={i}")).collect::<String>();
        assert_eq!(found(&router, "GET", &path), format!("GET /{expected}"));
    }
}
