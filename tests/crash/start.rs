//! A host that can't start.

use crate::site::Setup;

#[tokio::test]
async fn a_start_that_fails_is_told_in_the_log_too() {
    let site = Setup::plugin("echo").site().await;
    let host = site.serve().await;
    let second = site.output(&["serve"]).await;
    assert_eq!(second.status.code(), Some(1));
    let log = std::fs::read_to_string(site.path("logs/app.log")).unwrap();
    let told = log.lines().find(|line| line.starts_with("ERROR serve: "));
    let told = told.expect("the log tells it");
    assert!(
        told.contains("is in use by another nodepath process"),
        "{told}"
    );
    assert!(host.terminate().await.success());
}
