//! The kubelet's DRA plugin: a socket to be found by (registration) and a socket to be called on (DRA v1, v1beta1,
//! v1alpha3, device health v1, v1alpha1). The registration socket is made last, so that the kubelet never finds it before the
//! other answers; both are made again when they, or their directories, are removed.

mod health;
mod older;
mod paths;
mod registration;
mod serve;
mod v1;
mod watch;

use std::sync::Arc;

use network_driver_common::health::Part;
pub(crate) use paths::SocketPaths;
use registration::Registration;
pub(crate) use serve::ServeError;
use serve::serve_socket;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::driver::Driver;

/// Serves the kubelet until the token is cancelled; both sockets are gone afterwards.
///
/// # Errors
/// When a socket cannot be served at all.
pub(crate) async fn serve(
    driver: Arc<Driver>,
    paths: SocketPaths,
    part: Part,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let registration = Registration::new(&driver, &paths.dra, part);
    let plugin = plugin_routes(&driver, &shutdown);
    let (bound, ready) = oneshot::channel();
    let mut bound = Some(bound);
    let announce = move || {
        if let Some(bound) = bound.take() {
            // Nobody waits any more when the daemon is about to end.
            let _ = bound.send(());
        }
    };
    let dra = serve_socket(&paths.dra, plugin, announce, shutdown.clone());
    let announced = {
        let again = registration.clone();
        let routes = registration.routes();
        async {
            if ready.await.is_err() {
                return Ok(());
            }
            let bound = move || again.waiting();
            serve_socket(&paths.registration, routes, bound, shutdown.clone()).await
        }
    };
    tokio::try_join!(dra, announced).map(drop)
}

fn plugin_routes(driver: &Arc<Driver>, shutdown: &CancellationToken) -> Routes {
    let plugin = v1::Plugin::new(Arc::clone(driver));
    let health = health::Health::new(Arc::clone(driver), shutdown.clone());
    Routes::new(plugin.clone().service())
        .add_service(older::v1beta1(plugin.clone()))
        .add_service(older::v1alpha3(plugin))
        .add_service(health.clone().service_v1())
        .add_service(health.service_v1alpha1())
}
