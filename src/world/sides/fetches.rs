//! Our HTTP client and our server, by name.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::event::{CloseReason, Event};
use crate::http::{Request, Response};
use crate::manager::{Ctx, Net};

use crate::world::play::{Scene, Side};
use crate::world::story::Promise;

/// What our client fetches.
pub(crate) struct Fetches {
    scene: Rc<Scene>,
    begun: Cell<usize>,
    over: Cell<usize>,
}

/// The way of answering that is none: the body is cut short by the end of the connection.
const CUT_SHORT: usize = 3;

/// The body that a path stands for.
fn body(len: usize, tag: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + tag) as u8).collect()
}

impl Fetches {
    pub(crate) fn new(scene: &Rc<Scene>) -> Self {
        Self { scene: scene.clone(), begun: Cell::new(0), over: Cell::new(0) }
    }

    pub(crate) fn are_over(&self) -> bool {
        self.begun.get() == self.over.get()
    }

    /// The server's part. False: the request is not one of these.
    pub(crate) fn serve(&self, cx: &mut Ctx<'_, ()>, request: &Request<'_>) -> bool {
        let mut numbers = request.target().strip_prefix("/f/").into_iter().flat_map(|rest| rest.split('/'));
        let mut number = || numbers.next().and_then(|text| text.parse().ok());
        let (Some(len), Some(tag), Some(way)) = (number(), number(), number()) else { return false };
        let body = body(len, tag);
        match way {
            0 => _ = cx.reply(Response::new(200).body(&body)),
            1 => {
                if let Some(promise) = cx.defer() {
                    cx.timer_after(Duration::from_millis(len as u64 % 1000), move |cx| {
                        cx.net.reply(promise, Response::new(200).body(&body));
                    });
                }
            }
            CUT_SHORT => {
                cx.net.start(cx.conn, Response::new(200));
                cx.net.write(cx.conn, &body[..len / 2]);
                cx.net.drain(cx.conn);
            }
            _ => {
                cx.net.start(cx.conn, Response::new(200));
                body.chunks(1000).for_each(|chunk| _ = cx.net.write(cx.conn, chunk));
                cx.net.finish(cx.conn, &[]);
            }
        }
        true
    }

    /// Fetches so many bytes.
    pub(crate) fn begin(self: &Rc<Self>, net: &mut Net<'_, ()>, len: usize) {
        let tag = self.begun.get();
        self.begun.set(tag + 1);
        let (me, expected, must_come) = (self.clone(), body(len, tag), self.scene.is_well());
        let way = if must_come { tag % CUT_SHORT } else { tag % (CUT_SHORT + 1) };
        let has_come = RefCell::new(None);
        let handler = self.scene.handler(Side::Clients, move |_, event| match event {
            Event::HttpResponse(response) => {
                let is_right = way != CUT_SHORT && response.status() == 200 && response.body() == expected;
                if !is_right || has_come.replace(Some(response.status())).is_some() {
                    let (status, len) = (response.status(), response.body().len());
                    me.complain(format!("a response of {status} with {len} bytes to fetch {tag}"));
                }
            }
            Event::Closed(reason) => {
                me.over.set(me.over.get() + 1);
                me.scene.tell(|| format!("fetch {tag}: {:?}, {reason}", has_come.borrow()));
                if has_come.borrow().is_none() && (must_come || matches!(reason, CloseReason::Local)) {
                    me.complain(format!("fetch {tag} is over without a response: {reason}"));
                }
            }
            _ => {}
        });
        let url = format!("http://web.lan/f/{len}/{tag}/{way}");
        if let Err(e) = net.fetch(Request::get(&url), handler) {
            self.over.set(self.over.get() + 1);
            self.scene.tell(|| format!("fetch {tag}: {e}"));
            if must_come {
                self.complain(format!("fetch {tag} cannot begin: {e}"));
            }
        }
    }

    fn complain(&self, what: String) {
        self.scene.complain(Promise::ResponsesWhole, what);
    }
}
