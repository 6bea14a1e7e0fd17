package hook_test

import "os/exec"

func apart(*exec.Cmd) {}
