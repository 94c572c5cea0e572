//! Connections, from the first to the last.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{interval, sleep};

use super::activity::Activity;
use super::limits::HEAD_BYTES;
use super::route::Service;
use super::stalled::Stalled;

/// How often the server looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);
/// How long it waits when the system has no room for another connection.
const FULL: Duration = Duration::from_millis(100);

/// Serves until the service is told to stop and all answers are given.
///
/// # Errors
/// If the system provides no sockets or timers.
pub fn serve(listener: TcpListener, service: Arc<Service>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(2)
        .build()?;
    runtime.block_on(accept(listener, service))
}

async fn accept(listener: TcpListener, service: Arc<Service>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let connections = Arc::new(Semaphore::new(service.limits.connections));
    let graceful = GracefulShutdown::new();
    let (stopping, _) = watch::channel(false);
    let mut look = interval(LOOK);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = look.tick() => match service.stop.load(Relaxed) {
                true => break,
                false => continue,
            },
        };
        let Ok((stream, _)) = accepted else {
            // The client is gone already, or there are too many open files.
            sleep(FULL).await;
            continue;
        };
        // One connection too many is closed at once.
        if let Ok(permit) = Arc::clone(&connections).try_acquire_owned() {
            let activity = Arc::new(Activity::default());
            let served = connection(stream, Arc::clone(&service), Arc::clone(&activity));
            let served = graceful.watch(served);
            let metrics = Arc::clone(&service.metrics);
            let stopping = stopping.subscribe();
            tokio::spawn(async move {
                metrics.connections.fetch_add(1, Relaxed);
                tokio::select! {
                    // A client that breaks its connection off is no error of the server.
                    _ = served => {}
                    () = unneeded(stopping, &activity) => {}
                }
                metrics.connections.fetch_sub(1, Relaxed);
                drop(permit);
            });
        }
    }
    drop(listener);
    stopping.send_replace(true);
    graceful.shutdown().await;
    Ok(())
}

/// Waits until the server stops and a connection has nothing to do. Its client may have sent a part
/// of a request, which nobody waits for then.
async fn unneeded(mut stopping: watch::Receiver<bool>, activity: &Activity) {
    // The sender lives until the runtime ends.
    let _ = stopping.wait_for(|stopping| *stopping).await;
    loop {
        sleep(LOOK).await;
        if !activity.is_busy() {
            return;
        }
    }
}

/// One connection.
fn connection(
    stream: TcpStream,
    service: Arc<Service>,
    activity: Arc<Activity>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send {
    // Tokens leave as they come.
    let _ = stream.set_nodelay(true);
    let longest = service.limits.client;
    let stream = TokioIo::new(Stalled::new(stream, longest, Arc::clone(&activity)));
    let answer = service_fn(move |request| {
        let (service, activity) = (Arc::clone(&service), Arc::clone(&activity));
        async move { Ok::<_, Infallible>(service.answer(request, &activity).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(longest)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(stream, answer)
}
