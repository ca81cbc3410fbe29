//! A good component for another host: it imports what Nodepath does not have, and exports nothing that Nodepath calls.

wit_bindgen::generate!({
    inline: "
        package test:elsewhere@1.0.0;

        interface engine {
            ignite: func() -> bool;
        }

        world car {
            import engine;
            export drive: func() -> bool;
        }
    ",
});

struct Car;

impl Guest for Car {
    fn drive() -> bool {
        test::elsewhere::engine::ignite()
    }
}

export!(Car);
