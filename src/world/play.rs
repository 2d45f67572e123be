//! Plays a plan, and judges it.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use crate::event::Event;
use crate::manager::{Ctx, DnsOptions, Manager, Net};
use crate::options::ListenOptions;
use crate::sim::{Faults, Pollable, Rng, Sim};

use super::http::{self, Client, Cut};
use super::lives::Lives;
use super::mqtt::{self, Bug, ours, plain};
use super::schedule::{CHAOS, CLIENTS, Nature, OURS, Schedule, Step, What};
use super::sides::{Echo, Fetches, Names, Times, Watches};
use super::story::{Failure, Line, Promise, Summary, Teller};
use super::{FOREVER, PLANNED};

/// The server's address.
pub(super) const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// How long what is left may take once everything is well again. A client that takes a byte at a time is in no hurry.
const CALM: Duration = FOREVER;

/// What all sides of a world share.
pub(super) struct Scene {
    pub(super) sim: Sim,
    /// The lives of the server's connections, and of those of our clients.
    pub(super) lives: [Lives; 2],
    /// What goes wrong on the network, but for the descriptors.
    weather: RefCell<Faults>,
    /// What is left of descriptors, by each that says so now.
    descriptors: RefCell<Vec<usize>>,
    /// Those who forge answers of name and time servers.
    forgers: Cell<u32>,
    /// What the network may do to anybody.
    pub(super) nature: Nature,
    /// From when till when all stood still.
    slept: RefCell<Vec<(Duration, Duration)>>,
    is_calm: Cell<bool>,
    is_well: Cell<bool>,
    failure: RefCell<Option<Failure>>,
    teller: RefCell<Option<Teller>>,
    /// A handler, or another callback, is running.
    is_inside: Rc<Cell<bool>>,
    /// Each handler holds one.
    handlers: Rc<()>,
}

/// Whose connections a handler is for.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Server,
    Clients,
}

/// Plays a plan: holds everything that was promised? The story is told line by line, if somebody listens.
///
/// # Errors
///
/// The first promise that is seen broken.
pub fn play(plan: &Schedule, teller: Option<Teller>) -> Result<Summary, Failure> {
    let scene = Rc::new(Scene::new(plan, teller));
    let played = catch_unwind(AssertUnwindSafe(|| Played::new(&scene, plan)?.through(plan)));
    // Plans hold the scene, and the scene holds them.
    scene.sim.forget_plans();
    let played = played.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(scene.failed(Promise::NoPanic, text.unwrap_or_default()))
    });
    scene.check_failure().and(played)
}

impl Scene {
    fn new(plan: &Schedule, teller: Option<Teller>) -> Self {
        Self {
            sim: Sim::new(plan.seed()),
            lives: Default::default(),
            weather: RefCell::new(Faults::none()),
            descriptors: RefCell::default(),
            forgers: Cell::new(0),
            nature: plan.nature(),
            slept: RefCell::default(),
            is_calm: Cell::new(false),
            is_well: Cell::new(false),
            failure: RefCell::new(None),
            teller: RefCell::new(teller),
            is_inside: Rc::default(),
            handlers: Rc::default(),
        }
    }

    /// A promise is broken. The first time counts: the rest may follow from it.
    pub(super) fn complain(&self, promise: Promise, what: impl Into<String>) {
        self.failed(promise, what.into());
    }

    /// The same; tells which was the first.
    fn failed(&self, promise: Promise, what: String) -> Failure {
        let failure = Failure { promise, what, at: self.sim.elapsed() };
        self.failure.borrow_mut().get_or_insert(failure).clone()
    }

    fn check_failure(&self) -> Result<(), Failure> {
        self.failure.borrow().clone().map_or(Ok(()), Err)
    }

    pub(super) fn check<T>(&self, promise: Promise, result: Result<T, impl std::fmt::Display>) -> Result<T, Failure> {
        result.map_err(|what| self.failed(promise, what.to_string()))
    }

    /// A line of the story, if somebody listens.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if let Some(teller) = &mut *self.teller.borrow_mut() {
            teller(&Line { at: self.sim.elapsed(), what: what() });
        }
    }

    fn is_wrong(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Somebody forges answers.
    pub(super) fn has_forgers(&self) -> bool {
        self.forgers.get() > 0
    }

    /// Nothing goes wrong any more.
    pub(super) fn is_calm(&self) -> bool {
        self.is_calm.get()
    }

    /// And nothing of what went wrong is under way.
    pub(super) fn is_well(&self) -> bool {
        self.is_well.get()
    }

    /// A handler that is watched: no other one runs at the same time, its connection's life is in order, and it is dropped when
    /// nobody needs it.
    pub(super) fn handler(
        self: &Rc<Self>,
        side: Side,
        mut handler: impl FnMut(&mut Ctx<'_, ()>, Event<'_>) + 'static,
    ) -> impl FnMut(&mut Ctx<'_, ()>, Event<'_>) + 'static {
        let (scene, handlers) = (self.clone(), self.handlers.clone());
        move |cx, event| {
            let _holds = &handlers;
            let _inside = scene.enter(event.name());
            let lives = &scene.lives[side as usize];
            lives.see(cx, &event);
            if let Err(what) = lives.check() {
                scene.complain(Promise::OpenedFirstClosedLast, what);
            }
            handler(cx, event);
        }
    }

    /// A handler, or another callback, begins: it runs until what comes back is dropped, and nothing else does meanwhile.
    pub(super) fn enter(&self, what: &str) -> Inside {
        if self.is_inside.replace(true) {
            self.complain(Promise::NoOperationDispatches, format!("{what} inside of a handler"));
        }
        Inside(self.is_inside.clone())
    }

    /// Handlers that there are.
    fn handlers(&self) -> usize {
        Rc::strong_count(&self.handlers) - 1
    }

    /// How long all stood still since then.
    pub(super) fn slept_since(&self, since: Duration) -> Duration {
        self.slept.borrow().iter().map(|(from, till)| till.saturating_sub(since.max(*from))).sum()
    }

    /// Nobody has more descriptors for a while. Where several say so the least counts.
    fn leave_descriptors(self: &Rc<Self>, most: usize, during: Duration) {
        self.descriptors.borrow_mut().push(most);
        self.set_faults();
        let scene = self.clone();
        self.sim.after(during, move |_| {
            let at = scene.descriptors.borrow().iter().position(|other| *other == most);
            at.map(|at| scene.descriptors.borrow_mut().remove(at));
            scene.set_faults();
        });
    }

    /// What the network is like, of all that is said about it.
    fn set_faults(&self) {
        let descriptors = self.descriptors.borrow().iter().min().copied().unwrap_or(usize::MAX);
        self.sim.set_faults(self.weather.borrow().clone().descriptors(descriptors));
    }
}

/// A handler is left, by a panic too.
pub(super) struct Inside(Rc<Cell<bool>>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// HTTP clients, and what may cut them off.
type Pipelines = Vec<(Rc<Client>, Cut)>;

/// The world while it is played.
struct Played {
    scene: Rc<Scene>,
    server: Manager<()>,
    /// Until they leave.
    clients: Option<Manager<()>>,
    /// What the server listens on, and the handlers that it has for that.
    listeners: usize,
    handlers: usize,
    http: Rc<http::Stage>,
    pipelines: Rc<RefCell<Pipelines>>,
    echo: Rc<Echo>,
    fetches: Rc<Fetches>,
    names: Rc<Names>,
    times: Rc<Times>,
    watches: Rc<Watches>,
    mqtt: Rc<mqtt::Stage>,
    plains: Vec<plain::Shared>,
    ours: Vec<ours::Shared>,
}

impl Played {
    fn new(scene: &Rc<Scene>, plan: &Schedule) -> Result<Self, Failure> {
        let wrong = |e: crate::Error| scene.failed(Promise::Ends, e.to_string());
        let sim = &scene.sim;
        // What is not said by a step is decided here, whichever steps there are.
        let rng = &mut Rng::new(plan.seed() ^ 0x7365_7474_696e_6773);
        let resolver = || DnsOptions::new().servers([(Ipv4Addr::new(10, 0, 0, 53), 53)]);
        let mut server = Manager::builder().sim(sim).resolver(resolver()).build(()).map_err(wrong)?;
        let mut clients = Manager::builder().sim(sim).resolver(resolver()).build(()).map_err(wrong)?;
        for manager in [&mut server, &mut clients] {
            let told = scene.clone();
            manager.on_panic(move |(), panic| {
                if panic.message() != PLANNED {
                    told.complain(Promise::NoPanic, panic.message().to_owned());
                }
            });
        }
        let http = http::Stage::new(Some(scene));
        let fetches = Rc::new(Fetches::new(scene));
        let (mut serve, pages) = (http::serve(http.clone()), fetches.clone());
        let handler = scene.handler(Side::Server, move |cx, event| {
            if let Event::HttpRequest(request) = &event
                && pages.serve(cx, request)
            {
                return;
            }
            serve(cx, event);
        });
        let limits = http::limits(rng);
        let mut net = server.net();
        net.listen(ListenOptions::new(format!("http://{HERE}:80")).limits(limits), handler).map_err(wrong)?;
        let echo = Echo::listen(scene, &mut net).map_err(wrong)?;
        let times = Times::listen(scene, &mut net, rng).map_err(wrong)?;
        let names = Rc::new(Names::new(scene, rng).map_err(wrong)?);
        let watches = Rc::new(Watches::new(scene, server.waker(), &echo));
        let mqtt = Rc::new(mqtt::Stage::new(sim, rng, Bug::None, plan.sleep(), Some(scene)));
        mqtt.listen(&mut server.net(), rng).map_err(wrong)?;
        let handlers = scene.handlers() - times.asking();
        let plains: Vec<_> = (0..CLIENTS).map(|at| plain::Plain::new(&mqtt, at, rng)).collect();
        plains.iter().for_each(|plain| plain::start(&mut clients.net(), plain));
        let ours = (0..OURS).map(|at| ours::Ours::start(&mut clients.net(), &mqtt, at, rng));
        let ours = ours.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let listeners = server.net().connection_count() - times.asking();
        let (pipelines, scene) = (Rc::default(), scene.clone());
        let mut played = Self {
            scene,
            server,
            clients: Some(clients),
            listeners,
            handlers,
            http,
            pipelines,
            echo,
            fetches,
            names,
            times,
            watches,
            mqtt,
            plains,
            ours,
        };
        played.watch_bounds(limits.write_high + REPLY_MAX);
        for step in plan.steps() {
            played.arrange(step);
        }
        Ok(played)
    }

    /// Looks at what the server holds for each connection, every now and then: so much at most.
    fn watch_bounds(&mut self, queued_max: usize) {
        let scene = self.scene.clone();
        let mut turns = 0u32;
        self.server.on_turn(move |(), net| {
            turns += 1;
            if turns.is_multiple_of(16) {
                let queued = net.connections().iter().map(|info| info.queued).max().unwrap_or(0);
                if queued > queued_max {
                    let what = format!("{queued} bytes are queued for one connection, more than {queued_max}");
                    scene.complain(Promise::Bounds, what);
                }
            }
        });
    }

    /// Has the world do something when the time of a step has come.
    fn in_world(&self, step: &Step, act: impl Fn(&Sim) + 'static) {
        let (scene, step) = (self.scene.clone(), step.clone());
        self.scene.sim.after(step.at, move |sim| {
            scene.tell(|| step.to_string());
            act(sim);
        });
    }

    /// Has a manager do something when the time of a step has come.
    fn in_loop(
        scene: &Rc<Scene>,
        manager: Option<&mut Manager<()>>,
        step: &Step,
        act: impl Fn(&mut Net<'_, ()>) + 'static,
    ) {
        let Some(manager) = manager else { return };
        let (scene, step) = (scene.clone(), step.clone());
        manager.net().timer_after(step.at, move |cx| {
            let _inside = scene.enter("a timer");
            scene.tell(|| step.to_string());
            act(&mut cx.net);
        });
    }

    /// Has a step happen when its time comes.
    fn arrange(&mut self, step: &Step) {
        let scene = self.scene.clone();
        match step.what.clone() {
            What::Weather(faults) => self.in_world(step, move |_| {
                *scene.weather.borrow_mut() = (*faults).clone();
                scene.set_faults();
            }),
            What::Partition(host, during) => self.in_world(step, move |sim| sim.partition(HERE, host, during)),
            What::Sleep(time) => self.in_world(step, move |sim| {
                scene.slept.borrow_mut().push((sim.elapsed(), sim.elapsed() + time));
                sim.advance(time);
            }),
            What::WallClock(seconds) => {
                let times = self.times.clone();
                self.in_world(step, move |_| times.set_wall_clock(seconds));
            }
            What::Descriptors(most, during) => self.in_world(step, move |_| scene.leave_descriptors(most, during)),
            What::Forger(during) => self.in_world(step, move |sim| {
                scene.forgers.set(scene.forgers.get() + 1);
                let scene = scene.clone();
                sim.after(during, move |_| scene.forgers.set(scene.forgers.get() - 1));
            }),
            What::Http(seed) => {
                let (stage, pipelines) = (self.http.clone(), self.pipelines.clone());
                let cut = if scene.nature.cuts_connections { Cut::Network } else { Cut::Nothing };
                self.in_world(step, move |sim| {
                    let client = Client::start(sim, &mut Rng::new(seed), &stage, &sim.faults());
                    pipelines.borrow_mut().push((client, cut));
                });
            }
            What::Fetch(len) => {
                let fetches = self.fetches.clone();
                Self::in_loop(&scene, self.clients.as_mut(), step, move |net| fetches.begin(net, len));
            }
            What::Datagrams(count, seed) => {
                let echo = self.echo.clone();
                self.in_world(step, move |_| echo.ask(count, &mut Rng::new(seed)));
            }
            What::Timer(time, ticks) => {
                let watches = self.watches.clone();
                Self::in_loop(&scene, Some(&mut self.server), step, move |net| watches.set(net, time, ticks));
            }
            What::Wakeups(count) => {
                let watches = self.watches.clone();
                self.in_world(step, move |_| watches.wake(count));
            }
            What::Lookup(number) => {
                let names = self.names.clone();
                Self::in_loop(&scene, Some(&mut self.server), step, move |net| names.look_up(net, number));
            }
            What::Time => {
                let times = self.times.clone();
                Self::in_loop(&scene, Some(&mut self.server), step, move |net| times.ask(net));
            }
            What::Mqtt(client, seed) => {
                if let Some(plain) = self.plains.get(client).cloned() {
                    Self::in_loop(&scene, self.clients.as_mut(), step, move |net| plain::act_once(net, &plain, seed));
                }
            }
            What::Ours(client, seed) => {
                if let Some(ours) = self.ours.get(client).cloned() {
                    Self::in_loop(&scene, self.clients.as_mut(), step, move |net| {
                        ours.borrow_mut().act_once(net, seed)
                    });
                }
            }
            What::Hostile(seed) => {
                let (stage, number) = (self.mqtt.clone(), step.number);
                self.in_world(step, move |sim| mqtt::hostile::act(sim, &stage, number % 200, Rng::new(seed), CHAOS));
            }
            What::Kick(client) => {
                let stage = self.mqtt.clone();
                Self::in_loop(&scene, Some(&mut self.server), step, move |net| stage.kick(net, &client));
            }
        }
    }

    fn through(mut self, plan: &Schedule) -> Result<Summary, Failure> {
        let scene = self.scene.clone();
        let (calm, mqtt) = (scene.clone(), self.mqtt.clone());
        scene.sim.after(CHAOS, move |sim| {
            calm.tell(|| "everything is well again".to_owned());
            (0..CLIENTS).for_each(|client| sim.heal(HERE, Ipv4Addr::new(10, 0, 1, client as u8)));
            (0..OURS).for_each(|client| sim.heal(HERE, Ipv4Addr::new(10, 0, 2, client as u8)));
            mqtt.is_calm.set(true);
            *calm.weather.borrow_mut() = Faults::none();
            calm.descriptors.borrow_mut().clear();
            calm.set_faults();
            calm.is_calm.set(true);
        });
        self.run(|_| scene.is_calm(), FOREVER)?;
        let calm_at = scene.sim.elapsed();
        self.run_until_quiet(|_| true)?;
        self.ask_again(plan);
        self.run_until_quiet(|world| world.times.is_learnt_since(calm_at))?;
        // What goes at QoS 0 is on its way.
        let at = scene.sim.elapsed() + Duration::from_secs(8);
        self.run(|_| scene.sim.elapsed() >= at, FOREVER)?;
        self.judge()?;
        self.end(plan)
    }

    /// All is well: whoever asks now is answered, whatever has been.
    fn ask_again(&mut self, plan: &Schedule) {
        self.scene.tell(|| "everybody asks once more".to_owned());
        self.scene.is_well.set(true);
        let rng = &mut Rng::new(plan.seed() ^ 0x0061_6761_696e);
        let client = Client::start(&self.scene.sim, rng, &self.http, &Faults::none());
        self.pipelines.borrow_mut().push((client, Cut::Nothing));
        self.echo.ask(5, rng);
        let net = &mut self.server.net();
        self.names.look_up(net, rng.below(6));
        self.times.ask(net);
        if let Some(clients) = &mut self.clients {
            self.fetches.begin(&mut clients.net(), 3000);
        }
    }

    /// Runs until nothing is under way, and this is so.
    fn run_until_quiet(&mut self, and: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        self.run(|world| world.is_quiet() && and(world), CALM)
    }

    /// Runs until it is so. The other sides answer whatever comes to them meanwhile.
    fn run(&mut self, until: impl Fn(&Self) -> bool, limit: Duration) -> Result<(), Failure> {
        let (scene, names, times, echo) =
            (self.scene.clone(), self.names.clone(), self.times.clone(), self.echo.clone());
        let end = scene.sim.elapsed().saturating_add(limit);
        // In slices, so that `until` may look at the managers.
        loop {
            scene.check_failure()?;
            if until(self) {
                return Ok(());
            }
            if scene.sim.elapsed() > end {
                let what = format!("it is not over after {limit:?}: {}", self.waits_for());
                return Err(scene.failed(Promise::Ends, what));
            }
            let over = Rc::new(Cell::new(false));
            let is_over = over.clone();
            scene.sim.after(SLICE, move |_| is_over.set(true));
            let mut managers = managers(&mut self.server, &mut self.clients);
            let pump = || {
                names.serve();
                times.serve();
                echo.take();
                over.get() || scene.is_wrong()
            };
            let run = scene.sim.run(&mut managers, pump, FOREVER);
            scene.check(Promise::Ends, run.map_err(|e| format!("{e}: {}", self.waits_for())))?;
        }
    }

    fn is_quiet(&self) -> bool {
        self.pipelines.borrow().iter().all(|(client, _)| client.is_over())
            && self.fetches.are_over()
            && self.names.are_over()
            && self.watches.are_over()
            && self.times.are_over()
            && self.mqtt.is_quiet()
            && self.plains.iter().all(|plain| plain.borrow().is_quiet())
            && self.ours.iter().all(|ours| ours.borrow().is_quiet())
    }

    fn waits_for(&self) -> String {
        let pipelines = self.pipelines.borrow();
        let clients = pipelines.iter().map(|(client, _)| client);
        let open = clients.filter(|client| !client.is_over()).map(|client| client.state());
        let plains = self.plains.iter().map(|plain| plain.borrow()).filter(|plain| !plain.is_quiet());
        let ours = self.ours.iter().map(|ours| ours.borrow()).filter(|ours| !ours.is_quiet());
        let busy = plains.map(|plain| plain.state()).chain(ours.map(|ours| ours.state())).chain(open);
        format!(
            "fetches over: {}, lookups over: {}, timers and wakeups over: {}, times over: {}, broker quiet: {}, others: {}",
            self.fetches.are_over(),
            self.names.are_over(),
            self.watches.are_over(),
            self.times.are_over(),
            self.mqtt.is_quiet(),
            busy.collect::<Vec<_>>().join("\n")
        )
    }

    fn judge(&mut self) -> Result<(), Failure> {
        let scene = &self.scene;
        self.mqtt.judge(&self.server.net()).map_err(|(promise, what)| scene.failed(promise, what))?;
        for (client, cut) in self.pipelines.borrow().iter() {
            let checked = client.check(*cut);
            scene.check(
                Promise::RepliesWholeAndInOrder,
                checked.map_err(|what| format!("{what}\n{}", client.state())),
            )?;
        }
        let stats = self.server.stats();
        let (panics, planned) = (stats.handler_panics, self.http.panics());
        if panics != planned {
            return scene.check(Promise::HandlersCounted, Err(format!("{panics} panics are counted of {planned}")));
        }
        scene.check(Promise::Datagrams, self.echo.check())?;
        scene.check(Promise::Time, self.times.check())?;
        if stats.datagrams_dropped < self.echo.refused() {
            let what = format!("{} datagrams were refused: {stats:?}", self.echo.refused());
            return scene.check(Promise::Datagrams, Err(what));
        }
        Ok(())
    }

    /// Everybody leaves, and nothing is left.
    fn end(mut self, plan: &Schedule) -> Result<Summary, Failure> {
        let scene = self.scene.clone();
        let messages = self.mqtt.messages();
        self.times.stop(&mut self.server.net());
        // Our clients close what they have, and their handlers are told.
        self.clients = None;
        let leaving = self.mqtt.end_sessions();
        let at = scene.sim.elapsed() + Duration::from_secs(5);
        self.run(|_| scene.sim.elapsed() >= at, FOREVER)?;
        drop(leaving);
        scene.check(Promise::MqttRetained, self.mqtt.forget_retained())?;
        // Whatever timer is left fires, and then none is.
        self.until_nothing_happens()?;
        scene.check(Promise::NothingLeft, self.mqtt.nothing_left())?;
        let (conns, timers) = (self.server.net().connection_count(), self.server.net().timer_count());
        // Those of connections go with them.
        let handlers = scene.handlers();
        if handlers != self.handlers {
            let what = format!("{handlers} handlers are kept where {} are of use", self.handlers);
            return scene.check(Promise::HandlersCounted, Err(what));
        }
        let sockets = scene.sim.open_sockets() - self.names.sockets() - self.times.sockets() - self.echo.sockets();
        if (conns, timers, sockets) != (self.listeners, 0, self.listeners) {
            let what = format!("{conns} connections of {}, {timers} timers, {sockets} sockets", self.listeners);
            return scene.check(Promise::NothingLeft, Err(what));
        }
        let stats = self.server.stats();
        if stats.opened - stats.closed != self.listeners as u64 {
            return scene.check(Promise::NothingLeft, Err(format!("opened and closed differ: {stats:?}")));
        }
        let summary = Summary {
            took: scene.sim.elapsed(),
            turns: stats.turns,
            steps: plan.steps().len(),
            requests: stats.http_requests,
            messages,
            datagrams: stats.datagrams_in,
            accepted: stats.accepted,
            resets: stats.resets,
            accept_stalls: stats.accept_stalls,
        };
        drop(self);
        let over = |lives: &Lives| lives.check_all_over();
        scene.lives.iter().try_for_each(|all| scene.check(Promise::OpenedFirstClosedLast, over(all)))?;
        let (sockets, handlers) = (scene.sim.open_sockets(), scene.handlers());
        if (sockets, handlers) != (0, 0) {
            return scene.check(
                Promise::NothingLeft,
                Err(format!("{sockets} sockets and {handlers} handlers outlive the managers")),
            );
        }
        Ok(summary)
    }

    fn until_nothing_happens(&mut self) -> Result<(), Failure> {
        let scene = self.scene.clone();
        match scene.sim.run(&mut [&mut self.server], || scene.is_wrong(), FOREVER) {
            Err(failure) if !failure.is_stuck() => Err(scene.failed(Promise::Ends, failure.to_string())),
            _ => scene.check_failure(),
        }
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.http.forget();
    }
}

/// Those that there are.
fn managers<'a>(server: &'a mut Manager<()>, clients: &'a mut Option<Manager<()>>) -> Vec<&'a mut dyn Pollable> {
    let server: &mut dyn Pollable = server;
    std::iter::once(server).chain(clients.iter_mut().map(|clients| clients as &mut dyn Pollable)).collect()
}

/// How long the managers run before what they hold is looked at.
const SLICE: Duration = Duration::from_millis(250);

/// The longest HTTP reply, with its head. It may be queued behind what has not come to the high-water mark; what comes next may not.
const REPLY_MAX: usize = 104 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Rc<Scene> {
        Rc::new(Scene::new(&Schedule::with(1, []), None))
    }

    #[test]
    fn what_was_seen_first_is_what_is_told() {
        let scene = scene();
        assert_eq!(scene.check_failure(), Ok(()));
        scene.complain(Promise::Timers, "late");
        scene.sim.advance(Duration::from_secs(1));
        // What follows from it, a panic for example, is not the news.
        let told = scene.failed(Promise::NoPanic, "a panic".to_owned());
        assert_eq!(told, Failure { promise: Promise::Timers, what: "late".to_owned(), at: Duration::ZERO });
        assert_eq!(scene.check_failure(), Err(told));
    }

    #[test]
    fn a_callback_inside_of_another_is_noticed() {
        let scene = scene();
        drop(scene.enter("a timer"));
        let _outer = scene.enter("a timer");
        assert_eq!(scene.check_failure(), Ok(()));
        let _inner = scene.enter("Closed");
        let told = scene.check_failure().map_err(|failure| (failure.promise, failure.what));
        assert_eq!(told, Err((Promise::NoOperationDispatches, "Closed inside of a handler".to_owned())));
    }

    #[test]
    fn what_was_due_while_all_stood_still_may_be_late_by_the_rest_of_it() {
        let (scene, seconds) = (scene(), Duration::from_secs);
        scene.slept.borrow_mut().extend([(seconds(2), seconds(5)), (seconds(7), seconds(8))]);
        for (due, late) in [(0, 4), (2, 4), (4, 2), (5, 1), (6, 1), (8, 0)] {
            assert_eq!(scene.slept_since(seconds(due)), seconds(late), "{due}");
        }
    }

    #[test]
    fn the_least_of_descriptors_that_is_said_now_counts() {
        let (scene, seconds) = (scene(), Duration::from_secs);
        scene.leave_descriptors(9, seconds(3));
        scene.leave_descriptors(6, seconds(1));
        scene.leave_descriptors(9, seconds(5));
        let mut left = Vec::new();
        for _ in 0..6 {
            left.push(scene.sim.faults().descriptors);
            scene.sim.run_for(&mut [], seconds(1)).unwrap();
        }
        assert_eq!(left, [6, 9, 9, 9, 9, usize::MAX]);
    }
}
