//go:build !linux

package main

import (
	"context"
	"errors"

	"nearside/dev/world"
)

var errNoWAN = errors.New("a WAN needs Linux: its machines are network namespaces")

func startFarApart(context.Context, world.Config) (*scene, error) { return nil, errNoWAN }

func (wanShow) Run(*wanCommand, *env) error  { return errNoWAN }
func (wanCut) Run(*wanCommand, *env) error   { return errNoWAN }
func (wanHeal) Run(*wanCommand, *env) error  { return errNoWAN }
func (wanDelay) Run(*wanCommand, *env) error { return errNoWAN }
func (wanExec) Run(*wanCommand, *env) error  { return errNoWAN }
func (latencyCommand) Run(*env) error        { return errNoWAN }
func (drillCommand) Run(*env) error          { return errNoWAN }
