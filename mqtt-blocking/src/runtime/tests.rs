//! The loop: what it costs, and what it does for futures of any kind.

use super::*;
use crate::park::{after, wait};
use crate::{Client, QoS};
use martlet_tests::server::{Setup, TestServer};
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::task::Waker;
use std::thread;

/// A client on a loop whose turns are counted.
struct Counted {
    client: martlet_client::Client,
    reactor: Arc<Reactor>,
    thread: thread::JoinHandle<()>,
    _server: TestServer,
}

impl Counted {
    fn start() -> Self {
        let server = wait(TestServer::start(Setup::tcp()), None).unwrap();
        let (client, driver) = Client::builder(server.uri()).build(Blocking).unwrap();
        let rounds = Loop::new().unwrap();
        let reactor = rounds.reactor();
        let thread = thread::spawn(move || drop(rounds.run(driver).unwrap()));
        wait(client.connected(), None).unwrap().unwrap();
        Self {
            client,
            reactor,
            thread,
            _server: server,
        }
    }

    /// How many turns of the loop this takes.
    fn turns(&self, act: impl FnOnce(&martlet_client::Client)) -> usize {
        let turns = || self.reactor.turns.load(Ordering::Relaxed);
        let before = turns();
        act(&self.client);
        turns() - before
    }

    fn end(self) {
        wait(self.client.disconnect(), None).unwrap();
        self.thread.join().unwrap();
    }
}

/// A loop that does not sleep goes round thousands of times meanwhile.
#[test]
fn an_idle_loop_sleeps() {
    let counted = Counted::start();
    let mut messages = wait(counted.client.subscribe("a"), None).unwrap().unwrap();
    let short = Duration::from_millis(50);
    let turns = counted.turns(|_| assert!(wait(messages.next(), after(short)).is_none()));
    assert!(turns <= 4, "{turns} turns while nothing happened");
    // The loop's own timer.
    let turns = counted.turns(|_| {
        let next = wait(messages.next_timeout(short), None).unwrap();
        assert!(next.is_err());
    });
    assert!(turns <= 8, "{turns} turns for one timer");
    counted.end();
}

#[test]
fn the_turns_of_the_loop_are_proportional_to_the_packets() {
    const MESSAGES: usize = 100;
    let counted = Counted::start();
    let turns = counted.turns(|client| {
        for _ in 0..MESSAGES {
            let publish = client.publish("a", "b").qos(QoS::AtLeastOnce);
            wait(publish, None).unwrap().unwrap();
        }
    });
    assert!(
        turns >= MESSAGES,
        "{turns} turns, each of which has an answer"
    );
    assert!(turns <= 8 * MESSAGES, "{turns} turns");
    counted.end();
}

/// Wake-ups by other threads arrive, whether the loop sleeps or is about to.
#[test]
fn no_wake_up_is_lost() {
    let (sender, receiver) = mpsc::channel::<Waker>();
    let thread = thread::spawn(move || {
        for waker in receiver {
            waker.wake();
        }
    });
    let mut polls = 0;
    let woken = poll_fn(|cx| {
        polls += 1;
        if polls == 10_000 {
            return Poll::Ready(polls);
        }
        sender.send(cx.waker().clone()).unwrap();
        Poll::Pending
    });
    assert_eq!(block_on(woken).unwrap(), 10_000);
    drop(sender);
    thread.join().unwrap();
}

/// The first of several timers does not wake the others, one that is dropped wakes nobody, and one
/// that is set anew fires once.
#[test]
fn timers_fire_in_their_order() {
    let mut timers = [30, 1, 20, 10].map(|millis| {
        let mut timer = Blocking.timer();
        timer.reset(Duration::from_secs(3600));
        timer.reset(Duration::from_millis(millis));
        (millis, Some(timer))
    });
    timers[3].1 = None;
    let mut fired = Vec::new();
    let all = poll_fn(|cx| {
        for (millis, timer) in &mut timers {
            let expired = timer.as_mut().map(|timer| timer.poll_expired(cx));
            if expired == Some(Poll::Ready(())) {
                fired.push(*millis);
                assert_eq!(timer.as_mut().unwrap().poll_expired(cx), Poll::Pending);
                *timer = None;
            }
        }
        let is_done = timers.iter().all(|(_, timer)| timer.is_none());
        if is_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let rounds = Loop::new().unwrap();
    let reactor = rounds.reactor();
    rounds.run(all).unwrap();
    fired.sort_unstable();
    assert_eq!(fired, [1, 20, 30]);
    assert!(reactor.is_empty());
}

/// What it was set to before, and waits for in the loop, does not count any more.
#[test]
fn a_timer_that_waits_is_set_anew() {
    let mut timer = Blocking.timer();
    timer.reset(Duration::from_secs(3600));
    let mut polls = 0;
    let anew = poll_fn(|cx| {
        polls += 1;
        if polls == 1 {
            assert!(timer.poll_expired(cx).is_pending());
            timer.reset(Duration::from_millis(1));
        }
        timer.poll_expired(cx)
    });
    let rounds = Loop::new().unwrap();
    let reactor = rounds.reactor();
    rounds.run(anew).unwrap();
    assert!(reactor.is_empty());
    drop(timer);
}

/// Timers of the same moment are two.
#[test]
fn two_timers_of_one_moment() {
    let rounds = Loop::new().unwrap();
    let reactor = rounds.reactor();
    let now = Instant::now();
    let [(first, _), (second, _)] = [(); 2].map(|()| reactor.set_timer(now));
    reactor.unset_timer(first);
    assert!(!reactor.is_empty(), "{first:?} is not {second:?}");
    reactor.unset_timer(second);
    assert!(reactor.is_empty());
}

/// Sockets and timers that are dropped leave nothing behind.
#[test]
fn a_client_leaves_nothing_in_the_loop() {
    let counted = Counted::start();
    let reactor = Arc::clone(&counted.reactor);
    assert!(!reactor.is_empty());
    counted.end();
    assert!(reactor.is_empty());
}

#[test]
fn a_socket_outside_of_a_loop_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let connect = Blocking.connect(&address, &SocketOptions::default());
    let error = wait(connect, None).unwrap().unwrap_err();
    assert!(error.to_string().contains("block_on"), "{error}");
    // A timer fires nevertheless.
    let mut timer = Blocking.timer();
    timer.reset(Duration::from_millis(1));
    wait(poll_fn(|cx| timer.poll_expired(cx)), None).unwrap();
}

#[test]
fn one_loop_inside_another() {
    let outer = poll_fn(|_| {
        assert_eq!(block_on(std::future::ready(1)).unwrap(), 1);
        assert!(Reactor::is_current());
        Poll::Ready(2)
    });
    assert_eq!(block_on(outer).unwrap(), 2);
    assert!(!Reactor::is_current());
}

#[test]
fn work_off_the_thread_returns_or_fails() {
    let caller = thread::current().id();
    let other = block_on(off_thread(|| thread::current().id())).unwrap();
    assert_ne!(other.unwrap(), caller);
    let panicked = block_on(off_thread(|| panic!("as it should"))).unwrap();
    assert!(panicked.is_err());
}
