//! Wakers that run code of their own when they are cloned, woken and dropped, as the futures that share a loop with a
//! driver may have. Where that ran under a lock of the loop, all of these tests but one hung.

use super::{LONG, in_time, serve};
use cooked_waker::{IntoWaker, Wake, WakeRef};
use martlet_blocking::runtime::{
    Address, BlockingSocket, Network, Runtime, SocketOptions, Timer, block_on, off_thread,
};
use martlet_blocking::{Blocking, Client, QoS, wait_for};
use martlet_tests::server::Setup;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

/// What a waker does at one of its moments.
type Act = Arc<dyn Fn() + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Clone,
    Wake,
    Drop,
}

/// A waker that acts at a moment, beside waking another. In a box, it is cloned by its own `clone`.
struct Hostile {
    inner: Waker,
    at: Moment,
    act: Act,
}

impl Hostile {
    fn waker(inner: &Waker, at: Moment, act: &Act) -> Waker {
        let (inner, act) = (inner.clone(), Arc::clone(act));
        Box::new(Self { inner, at, act }).into_waker()
    }

    fn moment(&self, moment: Moment) {
        if self.at == moment {
            (self.act)();
        }
    }
}

impl Clone for Hostile {
    fn clone(&self) -> Self {
        self.moment(Moment::Clone);
        Self {
            inner: self.inner.clone(),
            at: self.at,
            act: Arc::clone(&self.act),
        }
    }
}

impl WakeRef for Hostile {
    fn wake_by_ref(&self) {
        self.moment(Moment::Wake);
        self.inner.wake_by_ref();
    }
}

impl Wake for Hostile {}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.moment(Moment::Drop);
    }
}

/// Polls something that is not ready twice: the second time it clones the second waker and drops the first. One of
/// both acts, once. The second result counts.
fn poll_twice<T>(
    at: Moment,
    act: impl FnOnce() + Send + 'static,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let act = Mutex::new(Some(act));
    let is_armed = Arc::new(AtomicUsize::new(0));
    let act: Act = Arc::new({
        let is_armed = Arc::clone(&is_armed);
        move || {
            if is_armed.load(Ordering::Relaxed) == 1 {
                let act = act.lock().unwrap().take();
                act.into_iter().for_each(|act| act());
                is_armed.store(2, Ordering::Relaxed);
            }
        }
    });
    let [first, second] = [(); 2].map(|()| Hostile::waker(Waker::noop(), at, &act));
    assert!(poll(&mut Context::from_waker(&first)).is_pending());
    is_armed.store(1, Ordering::Relaxed);
    let result = poll(&mut Context::from_waker(&second));
    assert_eq!(is_armed.swap(3, Ordering::Relaxed), 2, "{at:?}");
    result
}

const KEPT: [Moment; 2] = [Moment::Clone, Moment::Drop];

/// Sets a timer of this thread's loop, and takes it back.
fn touch_a_timer() {
    let mut timer = Blocking.timer();
    timer.reset(LONG);
    let _ = timer.poll_expired(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn a_waker_of_a_timer_sets_another() {
    for at in KEPT {
        in_time(move || {
            let mut timer = Blocking.timer();
            timer.reset(LONG);
            let polled = poll_fn(|_| {
                Poll::Ready(poll_twice(at, touch_a_timer, |cx| timer.poll_expired(cx)))
            });
            assert!(block_on(polled).unwrap().is_pending());
        });
    }
}

/// A client on a loop that has a socket beside it, which another thread reads: its waker waits for what that loop does.
#[test]
fn a_waker_of_a_socket_waits_for_its_loop() {
    for at in KEPT {
        in_time(move || {
            let server = serve(Setup::tcp());
            let (client, driver) = Client::builder(server.uri()).build(Blocking).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = Address::Tcp(listener.local_addr().unwrap());
            let (give, given) = mpsc::channel::<BlockingSocket>();
            let looping = thread::spawn(move || {
                block_on(async {
                    let socket = Blocking.connect(&address, &SocketOptions::default());
                    give.send(socket.await.unwrap()).unwrap();
                    driver.await
                })
            });
            let mut socket = given.recv().unwrap();
            let mut peer = listener.accept().unwrap().0;
            wait_for(client.connected()).unwrap().unwrap();
            let mut buf = [0; 8];
            let act = {
                let client = client.clone();
                move || {
                    peer.write_all(b"x").unwrap();
                    // The loop has handled what has come before it answers.
                    wait_for(client.ping()).unwrap().unwrap();
                }
            };
            let read = poll_twice(at, act, |cx| read(&mut socket, cx, &mut buf));
            assert!(matches!(read, Poll::Ready(Ok(1))), "{at:?}: {read:?}");
            wait_for(client.disconnect());
            looping.join().unwrap().unwrap();
        });
    }
}

fn read(
    socket: &mut BlockingSocket,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<std::io::Result<usize>> {
    futures_io::AsyncRead::poll_read(pin!(socket), cx, buf)
}

thread_local! {
    /// Dropped when the thread has ended.
    static END: RefCell<Option<mpsc::Sender<()>>> = const { RefCell::new(None) };
}

#[test]
fn a_waker_of_work_waits_for_its_thread() {
    for at in KEPT {
        in_time(move || {
            let (end, ended) = mpsc::channel();
            let (go, may_go) = mpsc::channel();
            let mut work = off_thread(move || {
                END.set(Some(end));
                may_go.recv().unwrap();
                7
            });
            let act = move || {
                go.send(()).unwrap();
                assert!(ended.recv().is_err());
            };
            let result = poll_twice(at, act, |cx| pin!(&mut work).poll(cx));
            assert!(matches!(result, Poll::Ready(Ok(7))), "{at:?}: {result:?}");
        });
    }
}

/// The waker of work that is done polls it.
#[test]
fn work_is_polled_inside_its_waker() {
    in_time(|| {
        let (go, may_go) = mpsc::channel::<()>();
        let work = off_thread(move || may_go.recv().unwrap());
        let work = Arc::new(Mutex::new(work));
        let (done, is_done) = mpsc::channel();
        let act: Act = {
            let work = Arc::clone(&work);
            Arc::new(move || {
                let mut cx = Context::from_waker(Waker::noop());
                let polled = pin!(&mut *work.lock().unwrap()).poll(&mut cx);
                done.send(polled.is_ready()).unwrap();
            })
        };
        let waker = Hostile::waker(Waker::noop(), Moment::Wake, &act);
        let mut cx = Context::from_waker(&waker);
        assert!(pin!(&mut *work.lock().unwrap()).poll(&mut cx).is_pending());
        go.send(()).unwrap();
        assert_eq!(is_done.recv(), Ok(true));
    });
}

/// A driver whose wakers call its client, and touch the timers and sockets of its loop.
#[test]
fn wakers_of_the_driver_call_the_client_and_the_loop() {
    for at in [Moment::Clone, Moment::Wake, Moment::Drop] {
        in_time(move || {
            let server = serve(Setup::tcp());
            let (client, driver) = Client::builder(server.uri()).build(Blocking).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = Address::Tcp(listener.local_addr().unwrap());
            let acts = Arc::new(AtomicUsize::new(0));
            let act: Act = {
                let (client, acts) = (client.clone(), Arc::clone(&acts));
                // What it does wakes the driver again: a few times are enough.
                Arc::new(move || {
                    if acts.fetch_add(1, Ordering::Relaxed) >= 20 {
                        return;
                    }
                    client.statistics();
                    drop(client.publish("hostile", "").try_enqueue());
                    touch_a_timer();
                    let mut cx = Context::from_waker(Waker::noop());
                    let connect = Blocking.connect(&address, &SocketOptions::default());
                    let _ = pin!(connect).poll(&mut cx);
                })
            };
            let driving = thread::spawn(move || {
                let mut driver = pin!(driver);
                block_on(poll_fn(|cx| {
                    let waker = Hostile::waker(cx.waker(), at, &act);
                    driver.as_mut().poll(&mut Context::from_waker(&waker))
                }))
            });
            for payload in ["0", "1"] {
                let publish = client.publish("a", payload).qos(QoS::ExactlyOnce);
                wait_for(publish).unwrap().unwrap();
            }
            assert!(acts.load(Ordering::Relaxed) > 0, "{at:?}");
            wait_for(client.disconnect());
            driving.join().unwrap().unwrap();
        });
    }
}
