package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Client is a browser that follows no redirects. It is safe for concurrent use.
type Client struct {
	http *http.Client
}

// Dial connects to a numeric address, for readers who are elsewhere.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// NewClient has room for so many connections to each edge.
func NewClient(connections int) *Client { return NewClientFrom(nil, connections) }

// NewClientFrom is NewClient for readers who connect with dial; nil is from here.
func NewClientFrom(dial Dial, connections int) *Client {
	return &Client{http: &http.Client{
		Transport: &http.Transport{
			DialContext:         dial,
			MaxIdleConnsPerHost: connections,
			MaxConnsPerHost:     connections,
			IdleConnTimeout:     30 * time.Second,
			DisableCompression:  true,
		},
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Offer is what a decision returned; an empty ID stands for no ad.
type Offer struct {
	ID           string  `json:"id"`
	Text         string  `json:"text"`
	Body         string  `json:"body"`
	HTML         string  `json:"html"`
	Image        *string `json:"image"`
	Link         string  `json:"link"`
	ViewURL      string  `json:"view_url"`
	ViewTimeURL  string  `json:"view_time_url"`
	Nonce        string  `json:"nonce"`
	DisplayType  string  `json:"display_type"`
	CampaignType string  `json:"campaign_type"`
	DivID        string  `json:"div_id"`
}

// Filled reports whether there is an ad.
func (o Offer) Filled() bool { return o.ID != "" }

// maxBody bounds what is read of an answer.
const maxBody = 1 << 20

// Decide asks an edge for an ad. Anything but 200 is an error.
func (c *Client) Decide(ctx context.Context, edge string, query url.Values, r Reader) (Offer, error) {
	answer, err := c.Get(ctx, edge+"/api/v1/decision/?"+query.Encode(), r)
	if err != nil {
		return Offer{}, err
	}
	if answer.Status != http.StatusOK {
		return Offer{}, fmt.Errorf("the decision was answered with %d: %.200s", answer.Status, answer.Body)
	}
	var offer Offer
	if err := json.Unmarshal(answer.Body, &offer); err != nil {
		return Offer{}, fmt.Errorf("read the decision: %w: %.200s", err, answer.Body)
	}
	return offer, nil
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Reason is why a beacon was or was not counted, where the edge says it.
func (a Answer) Reason() string { return a.Header.Get("X-Adserver-Reason") }

// Get asks for address as the reader would.
func (c *Client) Get(ctx context.Context, address string, r Reader) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Answer{}, err
	}
	return c.Do(req, r)
}

// Do sends a request as the reader would.
func (c *Client) Do(req *http.Request, r Reader) (Answer, error) {
	if r.Addr.IsValid() {
		req.Header.Set("X-Forwarded-For", r.Addr.String())
	}
	if r.Agent != "" {
		req.Header.Set("User-Agent", r.Agent)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return Answer{}, fmt.Errorf("read the answer of %s: %w", req.URL.Path, err)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}
