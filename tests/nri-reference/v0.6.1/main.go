// A container runtime made of containerd/nri's own adaptation package: it drives one plugin over the socket of its
// first argument through fixed events, and prints how each was answered.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
)

// This version sends the list in one message.
const sandboxes = 200

func main() {
	ctx := context.Background()
	synced := make(chan struct{}, 8)
	sync := func(ctx context.Context, cb adaptation.SyncCB) error {
		var pods []*api.PodSandbox
		for i := 0; i < sandboxes; i++ {
			p := pod(fmt.Sprintf("old%d", i), fmt.Sprintf("u%d", i))
			p.Annotations = map[string]string{"filler": strings.Repeat("x", 300)}
			pods = append(pods, p)
		}
		_, err := cb(ctx, pods, nil)
		if err == nil {
			synced <- struct{}{}
		}
		return err
	}
	update := func(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) { return nil, nil }
	runtime, err := adaptation.New("reference", "v1", sync, update,
		adaptation.WithSocketPath(os.Args[1]),
		adaptation.WithPluginPath(os.Args[1]+".no-plugins"),
		adaptation.WithPluginConfigPath(os.Args[1]+".no-config"))
	if err != nil {
		log.Fatal(err)
	}
	if err := runtime.Start(); err != nil {
		log.Fatal(err)
	}
	// The start synchronises the plugins that the runtime launches itself: none.
	for len(synced) > 0 {
		<-synced
	}
	select {
	case <-synced:
	case <-time.After(20 * time.Second):
		log.Fatal("no plugin was synchronised")
	}
	say("synchronised", nil)
	run := func(id, uid string) error {
		return runtime.RunPodSandbox(ctx, &api.StateChangeEvent{Pod: pod(id, uid)})
	}
	create := func(env string) error {
		container := &api.Container{Id: "c", PodSandboxId: "s1", Name: "main", Env: []string{env}}
		_, err := runtime.CreateContainer(ctx, &api.CreateContainerRequest{Pod: pod("s1", "p"), Container: container})
		return err
	}
	say("run", run("s1", "p"))
	say("run refused", run("s2", "refused"))
	say("create", create("A=1"))
	say("create refused", create("REFUSE=1"))
	say("run late", run("s3", "hangs"))
	say("stop", runtime.StopPodSandbox(ctx, &api.StateChangeEvent{Pod: pod("s1", "p")}))
	say("remove", runtime.RemovePodSandbox(ctx, &api.StateChangeEvent{Pod: pod("s1", "p")}))
	say("run refused again", run("s4", "refused"))
}

func pod(id, uid string) *api.PodSandbox {
	return &api.PodSandbox{
		Id: id, Name: "pod-" + uid, Uid: uid, Namespace: "default",
		Linux: &api.LinuxPodSandbox{Namespaces: []*api.LinuxNamespace{{Type: "network", Path: "/run/netns/x"}}},
	}
}

func say(what string, err error) {
	if err != nil {
		fmt.Println(what + ": error")
	} else {
		fmt.Println(what + ": ok")
	}
}
