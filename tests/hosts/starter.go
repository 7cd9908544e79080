// A Go program that starts another one and leaves with its status: starter COMMAND...
package main

import (
	"fmt"
	"os"
	"os/exec"
)

func main() {
	command := exec.Command(os.Args[1], os.Args[2:]...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	err := command.Run()
	fmt.Println("the command ended:", err)
	os.Exit(command.ProcessState.ExitCode())
}
