//! What the types rule out: programs that must not compile, run by `cargo test --doc`. Cases of the reference whose
//! failure at run time cannot be tested, because there is none.

/// A3: two threads cannot poll one manager; each line alone compiles.
///
/// ```
/// # let mut manager = vansire::Manager::new(()).unwrap();
/// manager.poll(Some(std::time::Duration::ZERO)).unwrap();
/// ```
/// ```compile_fail,E0277
/// # let mut manager = vansire::Manager::new(()).unwrap();
/// std::thread::spawn(move || manager.poll(None));
/// ```
/// ```compile_fail
/// # let mut manager = vansire::Manager::new(()).unwrap();
/// std::thread::scope(|threads| {
///     threads.spawn(|| manager.poll(None));
///     manager.poll(None);
/// });
/// ```
mod a3_two_threads_poll {}

/// A4, and invariant 8: a handler cannot poll, for it is lent a context and not the manager.
///
/// ```compile_fail,E0599
/// # use vansire::{Ctx, Event};
/// fn handler(cx: &mut Ctx<'_, ()>, _: Event<'_>) {
///     cx.net.poll(None);
/// }
/// ```
/// ```compile_fail
/// # use vansire::{Ctx, Event, Manager};
/// let mut manager = Manager::new(()).unwrap();
/// manager.net().listen("tcp://127.0.0.1:0", |_: &mut Ctx<'_, ()>, _: Event<'_>| {
///     manager.poll(None);
/// });
/// ```
/// A reference-counted manager does not help: while it is polled it cannot be borrowed again, and what it would be stored
/// in is borrowed itself.
///
/// ```compile_fail
/// # use vansire::{Ctx, Event, Manager};
/// struct App<'a> { manager: Option<&'a mut Manager<App<'a>>> }
/// let mut manager = Manager::new(App { manager: None }).unwrap();
/// manager.state_mut().manager = Some(&mut manager);
/// manager.poll(None);
/// ```
mod a4_a_handler_polls {}

/// A5: nobody can close a manager while another thread polls it.
///
/// ```compile_fail
/// # let mut manager = vansire::Manager::new(()).unwrap();
/// std::thread::scope(|threads| {
///     threads.spawn(|| manager.close());
///     manager.poll(None);
/// });
/// ```
mod a5_closed_while_polled {}

/// B6: nothing of an event can be kept after its handler.
///
/// ```compile_fail
/// # use vansire::{Ctx, Event};
/// fn handler(cx: &mut Ctx<'_, Vec<&'static [u8]>>, ev: Event<'_>) {
///     if let Event::Data(data) = ev {
///         cx.state.push(data.bytes());
///     }
/// }
/// ```
/// ```compile_fail
/// # use vansire::{Ctx, Event, http};
/// struct App<'a> { request: Option<&'a http::Request<'a>> }
/// fn handler<'a>(cx: &mut Ctx<'_, App<'a>>, ev: Event<'_>) {
///     if let Event::HttpRequest(request) = ev {
///         cx.state.request = Some(request);
///     }
/// }
/// ```
mod b6_an_event_is_kept {}
