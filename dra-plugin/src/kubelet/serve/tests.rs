use tonic::service::Routes;

use super::*;

fn spawn(path: &Path, stop: &CancellationToken) -> tokio::task::JoinHandle<Result<(), ServeError>> {
    let (path, stop) = (path.to_owned(), stop.clone());
    tokio::spawn(async move { serve_socket(&path, Routes::default(), || {}, stop).await })
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_another_file_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugins/dra.sock");
    fs::create_dir(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let stale = FileId::of(&path).unwrap();
    let stop = CancellationToken::new();
    let served = spawn(&path, &stop);
    crate::testing::until("the socket is new", || {
        FileId::of(&path).is_ok_and(|id| id != stale)
    })
    .await;
    crate::testing::until("only the kubelet may call", || {
        fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o777 == 0o600)
    })
    .await;
    stop.cancel();
    served.await.unwrap().unwrap();
    assert!(!path.exists());

    fs::write(&path, "precious").unwrap();
    let refused = spawn(&path, &CancellationToken::new()).await.unwrap();
    let text = refused.unwrap_err().to_string();
    assert!(
        text.ends_with("exists and is not a socket: remove it"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_socket_that_somebody_else_made_since_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let (_listener, watch) = bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    remove(&path, watch.id());
    assert!(path.exists());
}
