//! What the played providers share: a server whose connections can be cut, a script of answers, and waiting without sleeping.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A state that many share, and that one can wait for.
pub(super) struct Watched<T> {
    state: Mutex<T>,
    changed: watch::Sender<()>,
}

impl<T> Watched<T> {
    pub(super) fn new(state: T) -> Self {
        Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        }
    }

    /// Looks at the state.
    pub(super) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// Changes the state, and wakes whoever waits for it.
    pub(super) fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.send_replace(());
        result
    }

    /// Waits until `look` finds what it looks for. It may change the state, for example take what it found out of it.
    pub(super) async fn wait<R>(&self, mut look: impl FnMut(&mut T) -> Option<R>) -> R {
        // Registered before the first look, so no change slips between the two.
        let mut changes = self.changed.subscribe();
        loop {
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            if changes.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a provider is told to do with requests to come.
pub(super) struct Script<A> {
    pub(super) answers: VecDeque<A>,
    pub(super) is_held: bool,
}

impl<A> Default for Script<A> {
    fn default() -> Self {
        Self {
            answers: VecDeque::new(),
            is_held: false,
        }
    }
}

/// A server on a free port of the loopback interface. It takes no more connections once this is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    _task: JoinSet<()>,
}

impl Server {
    pub(super) async fn start(router: Router) -> io::Result<Self> {
        let inner = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = inner.local_addr()?;
        let service = router.into_make_service_with_connect_info::<Scissors>();
        let mut task = JoinSet::new();
        task.spawn(async move {
            // It only ends by being aborted: accepting is retried for ever.
            drop(axum::serve(CuttableListener { inner }, service).await);
        });
        Ok(Self {
            address,
            _task: task,
        })
    }
}

/// Cuts the connection that a request came on: nothing more is written to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Scissors(Arc<AtomicBool>);

impl Scissors {
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Scissors {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.remote_addr().clone()
    }
}

struct CuttableListener {
    inner: TcpListener,
}

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = Scissors;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (inner, _) = Listener::accept(&mut self.inner).await;
        let scissors = Scissors::default();
        let stream = CuttableStream {
            inner,
            scissors: scissors.clone(),
        };
        (stream, scissors)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Scissors::default())
    }
}

struct CuttableStream {
    inner: TcpStream,
    scissors: Scissors,
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.scissors.check()?;
        Pin::new(&mut self.inner).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.scissors.check()?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
