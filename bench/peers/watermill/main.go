// The work of the benchmarks done with Watermill, the way its documentation shows: a transaction that inserts an
// order and publishes into an outbox table, the forwarder that takes it to Kafka, a handler with a transaction a message.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	outboxTopic = "outbox"
	keyHeader   = "key"
	price       = 1890
	fillBatch   = 1000
	fillKeys    = 500
)

const tables = `
	CREATE TABLE IF NOT EXISTS watermill_order (
		id uuid PRIMARY KEY, customer_id uuid NOT NULL, status text NOT NULL, total bigint NOT NULL, currency text NOT NULL,
		created_at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE IF NOT EXISTS watermill_order_item (
		order_id uuid NOT NULL REFERENCES watermill_order, position int NOT NULL, sku text NOT NULL, quantity int NOT NULL,
		unit_price bigint NOT NULL, PRIMARY KEY (order_id, position))`

type app struct {
	pool    *pgxpool.Pool
	brokers []string
	topic   string
	group   string
	logger  watermill.LoggerAdapter
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// run does what the first argument names: "http", "forwarder", both with a comma, "consumer", or "fill" with a number.
func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	config.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	a := &app{
		pool:    pool,
		brokers: strings.Split(os.Getenv("KAFKA_BROKERS"), ","),
		topic:   os.Getenv("TOPIC"),
		group:   os.Getenv("GROUP"),
		logger:  watermill.NewStdLogger(false, false),
	}
	if _, err := pool.Exec(ctx, tables); err != nil {
		return err
	}
	if err := a.createOutbox(); err != nil {
		return err
	}
	if os.Args[1] == "fill" {
		count, err := strconv.Atoi(os.Args[2])
		if err != nil {
			return err
		}
		return a.fill(ctx, count)
	}
	failed := make(chan error, 3)
	for _, role := range strings.Split(os.Args[1], ",") {
		start, known := map[string]func(context.Context, chan<- error) error{
			"http": a.serve, "forwarder": a.forward, "consumer": a.consume,
		}[role]
		if !known {
			return fmt.Errorf("no such role: %s", role)
		}
		if err := start(ctx, failed); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (a *app) createOutbox() error {
	subscriber, err := a.outboxSubscriber()
	if err != nil {
		return err
	}
	return errors.Join(subscriber.SubscribeInitialize(outboxTopic), subscriber.Close())
}

func (a *app) outboxSubscriber() (*sql.Subscriber, error) {
	return sql.NewSubscriber(sql.BeginnerFromPgx(a.pool), sql.SubscriberConfig{
		SchemaAdapter:    sql.DefaultPostgreSQLSchema{},
		OffsetsAdapter:   sql.DefaultPostgreSQLOffsetsAdapter{},
		InitializeSchema: true,
	}, a.logger)
}

// publish writes into the outbox table, inside of the transaction.
func (a *app) publish(tx pgx.Tx, messages ...*message.Message) error {
	publisher, err := sql.NewPublisher(sql.TxFromPgx(tx), sql.PublisherConfig{SchemaAdapter: sql.DefaultPostgreSQLSchema{}}, a.logger)
	if err != nil {
		return err
	}
	return forwarder.NewPublisher(publisher, forwarder.PublisherConfig{ForwarderTopic: outboxTopic}).Publish(a.topic, messages...)
}

func newMessage(key string, payload any) (*message.Message, error) {
	text, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	m := message.NewMessage(watermill.NewUUID(), text)
	m.Metadata.Set(keyHeader, key)
	return m, nil
}

type item struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

type orderRequest struct {
	CustomerID   string `json:"customerId"`
	Items        []item `json:"items"`
	PaymentToken string `json:"paymentToken"`
}

func (r orderRequest) invalid() error {
	if _, err := uuid.Parse(r.CustomerID); err != nil {
		return err
	}
	if len(r.Items) == 0 || r.PaymentToken == "" {
		return errors.New("items and paymentToken are wanted")
	}
	for _, item := range r.Items {
		if item.SKU == "" || item.Quantity < 1 {
			return errors.New("each item wants a sku and a quantity")
		}
	}
	return nil
}

func (a *app) serve(ctx context.Context, failed chan<- error) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", a.place)
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: mux}
	go func() { failed <- server.ListenAndServe() }()
	return nil
}

func (a *app) place(w http.ResponseWriter, r *http.Request) {
	var request orderRequest
	err := json.NewDecoder(r.Body).Decode(&request)
	if err == nil {
		err = request.invalid()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := uuid.NewString()
	total := 0
	for _, item := range request.Items {
		total += item.Quantity * price
	}
	err = pgx.BeginFunc(r.Context(), a.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(r.Context(),
			`INSERT INTO watermill_order (id, customer_id, status, total, currency) VALUES ($1, $2, 'pending', $3, 'EUR')`,
			id, request.CustomerID, total); err != nil {
			return err
		}
		for position, item := range request.Items {
			if _, err := tx.Exec(r.Context(),
				`INSERT INTO watermill_order_item (order_id, position, sku, quantity, unit_price) VALUES ($1, $2, $3, $4, $5)`,
				id, position+1, item.SKU, item.Quantity, price); err != nil {
				return err
			}
		}
		m, err := newMessage(id, map[string]any{"orderId": id, "customerId": request.CustomerID, "items": request.Items, "total": total, "paymentToken": request.PaymentToken})
		if err != nil {
			return err
		}
		return a.publish(tx, m)
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer, err := json.Marshal(map[string]any{"id": id, "status": "pending", "total": total})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("content-type", "application/json")
	w.Header().Set("content-length", strconv.Itoa(len(answer)))
	w.WriteHeader(http.StatusAccepted)
	if _, err := w.Write(answer); err != nil {
		a.logger.Error("an answer was not taken", err, nil)
	}
}

func (a *app) forward(ctx context.Context, failed chan<- error) error {
	subscriber, err := a.outboxSubscriber()
	if err != nil {
		return err
	}
	settings := kafka.DefaultSaramaSyncPublisherConfig()
	settings.Producer.RequiredAcks = sarama.WaitForAll // as everybody's here
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{
		Brokers: a.brokers,
		Marshaler: kafka.NewWithPartitioningMarshaler(func(_ string, m *message.Message) (string, error) {
			return m.Metadata.Get(keyHeader), nil
		}),
		OverwriteSaramaConfig: settings,
	}, a.logger)
	if err != nil {
		return err
	}
	f, err := forwarder.NewForwarder(subscriber, publisher, a.logger, forwarder.Config{ForwarderTopic: outboxTopic})
	if err != nil {
		return err
	}
	go func() { failed <- f.Run(ctx) }()
	<-f.Running()
	return nil
}

type thing struct {
	ThingID string `json:"thingId"`
	N       int    `json:"n"`
	Text    string `json:"text"`
}

func (a *app) consume(ctx context.Context, failed chan<- error) error {
	settings := kafka.DefaultSaramaSubscriberConfig()
	settings.Consumer.Offsets.Initial = sarama.OffsetOldest
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Brokers: a.brokers, Unmarshaler: kafka.DefaultMarshaler{}, ConsumerGroup: a.group + "-" + a.topic, OverwriteSaramaConfig: settings,
	}, a.logger)
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{}, a.logger)
	if err != nil {
		return err
	}
	router.AddNoPublisherHandler("effect", a.topic, subscriber, a.handle)
	go func() { failed <- router.Run(ctx) }()
	<-router.Running()
	return nil
}

// handle remembers the event and makes one update for it, in one transaction.
func (a *app) handle(m *message.Message) error {
	var event thing
	if err := json.Unmarshal(m.Payload, &event); err != nil {
		return err
	}
	return pgx.BeginFunc(m.Context(), a.pool, func(tx pgx.Tx) error {
		marked, err := tx.Exec(m.Context(),
			`INSERT INTO inbox (group_name, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, a.group, m.Metadata.Get("ce_id"))
		if err != nil || marked.RowsAffected() == 0 {
			return err
		}
		_, err = tx.Exec(m.Context(),
			`UPDATE bench_effect SET handled = handled + 1, disorder = disorder + (last <> $3::int - 1)::int, last = $3::int
			 WHERE group_name = $1 AND key = $2`, a.group, event.ThingID, event.N)
		return err
	})
}

// fill commits so many messages of about 300 bytes to the outbox.
func (a *app) fill(ctx context.Context, count int) error {
	for from := 0; from < count; from += fillBatch {
		err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
			var messages []*message.Message
			for n := from; n < min(from+fillBatch, count); n++ {
				key := strconv.Itoa(n % fillKeys)
				m, err := newMessage(key, thing{ThingID: key, N: n/fillKeys + 1, Text: strings.Repeat("x", 230)})
				if err != nil {
					return err
				}
				messages = append(messages, m)
			}
			return a.publish(tx, messages...)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
