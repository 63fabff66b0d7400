//! The stand-in against a small plugin, good and bad.

use network_driver_proto::dra_v1::dra_plugin_server::{DraPlugin, DraPluginServer};
use network_driver_proto::dra_v1beta1::dra_plugin_server as beta;
use network_driver_proto::pluginregistration::registration_server::{
    Registration, RegistrationServer,
};
use network_driver_proto::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::*;

const DRIVER: &str = "network.example.com";
const LIMIT: Duration = Duration::from_secs(10);

/// A plugin that answers for each claim, and for `also` besides.
#[derive(Clone, Default)]
struct SmallPlugin {
    versions: Vec<String>,
    also: Option<String>,
    endpoint: String,
    told: Arc<Mutex<Vec<RegistrationStatus>>>,
}

#[tonic::async_trait]
impl Registration for SmallPlugin {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "DRAPlugin".into(),
            name: DRIVER.into(),
            endpoint: self.endpoint.clone(),
            supported_versions: self.versions.clone(),
        }))
    }

    async fn notify_registration_status(
        &self,
        status: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        self.told.lock().unwrap().push(status.into_inner());
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

#[tonic::async_trait]
impl DraPlugin for SmallPlugin {
    async fn node_prepare_resources(
        &self,
        request: Request<dra_v1::NodePrepareResourcesRequest>,
    ) -> Result<Response<dra_v1::NodePrepareResourcesResponse>, Status> {
        assert!(request.metadata().contains_key("grpc-timeout"));
        let asked = request.into_inner().claims.into_iter().map(|c| c.uid);
        let entry = |uid: String| {
            let error = if uid == "bad" { "no such device" } else { "" };
            let entry = dra_v1::NodePrepareResourceResponse {
                error: error.into(),
                ..Default::default()
            };
            (uid, entry)
        };
        Ok(Response::new(dra_v1::NodePrepareResourcesResponse {
            claims: asked.chain(self.also.clone()).map(entry).collect(),
        }))
    }

    async fn node_unprepare_resources(
        &self,
        _: Request<dra_v1::NodeUnprepareResourcesRequest>,
    ) -> Result<Response<dra_v1::NodeUnprepareResourcesResponse>, Status> {
        Ok(Response::new(
            dra_v1::NodeUnprepareResourcesResponse::default(),
        ))
    }
}

#[tonic::async_trait]
impl beta::DraPlugin for SmallPlugin {
    async fn node_prepare_resources(
        &self,
        request: Request<dra_v1beta1::NodePrepareResourcesRequest>,
    ) -> Result<Response<dra_v1beta1::NodePrepareResourcesResponse>, Status> {
        let device = dra_v1beta1::Device {
            device_name: "of-v1beta1".into(),
            ..Default::default()
        };
        let entry = |uid| {
            let devices = vec![device.clone()];
            let error = String::new();
            (
                uid,
                dra_v1beta1::NodePrepareResourceResponse { devices, error },
            )
        };
        let asked = request.into_inner().claims.into_iter().map(|c| c.uid);
        Ok(Response::new(dra_v1beta1::NodePrepareResourcesResponse {
            claims: asked.map(entry).collect(),
        }))
    }

    async fn node_unprepare_resources(
        &self,
        _: Request<dra_v1beta1::NodeUnprepareResourcesRequest>,
    ) -> Result<Response<dra_v1beta1::NodeUnprepareResourcesResponse>, Status> {
        Ok(Response::new(
            dra_v1beta1::NodeUnprepareResourcesResponse::default(),
        ))
    }
}

/// A kubelet and a plugin that serves under it, with `name` as its registration socket.
struct Pair {
    kubelet: Kubelet,
    plugin: SmallPlugin,
    _root: tempfile::TempDir,
}

fn pair(name: &str, mut plugin: SmallPlugin, knows: &'static [DraVersion]) -> Pair {
    let root = tempfile::tempdir().unwrap();
    let kubelet = Kubelet::start(root.path(), knows).unwrap();
    let dra = root.path().join("plugins/plugin@dra.sock");
    plugin.endpoint = dra.to_str().unwrap().to_owned();
    let serve = |path: &Path, router: tonic::transport::server::Router| {
        let incoming = UnixListenerStream::new(UnixListener::bind(path).unwrap());
        tokio::spawn(router.serve_with_incoming(incoming));
    };
    let mut server = tonic::transport::Server::builder();
    let services = server
        .add_service(DraPluginServer::new(plugin.clone()))
        .add_service(beta::DraPluginServer::new(plugin.clone()));
    serve(&dra, services);
    let registration = server.add_service(RegistrationServer::new(plugin.clone()));
    serve(
        &root.path().join("plugins_registry").join(name),
        registration,
    );
    Pair {
        kubelet,
        plugin,
        _root: root,
    }
}

fn claim(uid: &str) -> ClaimName {
    ClaimName {
        namespace: "default".into(),
        name: "nic".into(),
        uid: uid.into(),
    }
}

fn versions(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn the_authority_is_what_grpc_go_makes_of_a_path() {
    let path = Path::new("/var/lib/kubelet/plugins_registry/network.example.com@reg.sock");
    assert_eq!(
        kubelet_authority(path),
        "%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fnetwork.example.com@reg.sock"
    );
}

#[tokio::test]
async fn the_first_version_that_the_kubelet_knows_is_taken() {
    let plugin = SmallPlugin {
        versions: versions(&["v9.DRAPlugin", "v1.DRAPlugin", "v1beta1.DRAPlugin"]),
        ..Default::default()
    };
    let new = pair("new@reg.sock", plugin.clone(), DraVersion::CURRENT);
    let old = pair("old@reg.sock", plugin, DraVersion::OLD);
    let registered = new.kubelet.registered(DRIVER, LIMIT).await.unwrap();
    assert_eq!(registered.version, DraVersion::V1);
    old.kubelet.registered(DRIVER, LIMIT).await.unwrap();
    let answer = old.kubelet.prepare(DRIVER, &[claim("a")]).await.unwrap();
    assert_eq!(answer["a"].as_ref().unwrap()[0].device, "of-v1beta1");
    assert!(new.plugin.told.lock().unwrap()[0].plugin_registered);
}

#[tokio::test]
async fn a_claim_in_error_does_not_spoil_the_others() {
    let plugin = SmallPlugin {
        versions: versions(&["v1.DRAPlugin"]),
        ..Default::default()
    };
    let pair = pair("a@reg.sock", plugin, DraVersion::CURRENT);
    pair.kubelet.registered(DRIVER, LIMIT).await.unwrap();
    let asked = [claim("a"), claim("bad")];
    let answer = pair.kubelet.prepare(DRIVER, &asked).await.unwrap();
    assert_eq!(answer["a"], Ok(vec![]));
    assert_eq!(answer["bad"], Err("no such device".into()));
}

#[tokio::test]
async fn answers_with_foreign_or_missing_claims_are_refused() {
    let plugin = SmallPlugin {
        versions: versions(&["v1.DRAPlugin"]),
        also: Some("foreign".into()),
        ..Default::default()
    };
    let pair = pair("a@reg.sock", plugin, DraVersion::CURRENT);
    pair.kubelet.registered(DRIVER, LIMIT).await.unwrap();
    let error = pair.kubelet.prepare(DRIVER, &[claim("a")]).await;
    assert!(error.unwrap_err().to_string().contains("foreign"));
    let error = pair.kubelet.unprepare(DRIVER, &[claim("a")]).await;
    assert!(error.unwrap_err().to_string().contains("answered for {}"));
}

#[tokio::test]
async fn a_plugin_without_a_known_version_is_told_so() {
    let plugin = SmallPlugin {
        versions: versions(&["v9.DRAPlugin"]),
        ..Default::default()
    };
    let pair = pair("a@reg.sock", plugin, DraVersion::CURRENT);
    let told = || pair.plugin.told.lock().unwrap().first().cloned();
    let told = until("the verdict", LIMIT, async || told()).await.unwrap();
    assert!(!told.plugin_registered);
    assert!(told.error.contains("v9.DRAPlugin"));
}

#[tokio::test]
async fn a_socket_name_without_an_at_sign_cannot_be_dialled() {
    let plugin = SmallPlugin {
        versions: versions(&["v1.DRAPlugin"]),
        ..Default::default()
    };
    let pair = pair("plain-reg.sock", plugin, DraVersion::CURRENT);
    let missed = pair.kubelet.registered(DRIVER, Duration::from_millis(300));
    let error = format!("{:#}", missed.await.unwrap_err());
    assert!(error.contains("authority"), "{error}");
}
