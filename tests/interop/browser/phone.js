// A phone in a page. What it is to do stands in the address; what happens it tells the server of the
// page, and what to do next it asks there.
import JsSIP from "jssip";

const asked = new URLSearchParams(location.search);
const number = asked.get("number");

async function tell(event, facts = {}) {
  await fetch("/told", { method: "POST", body: JSON.stringify({ phone: number, event, ...facts }) });
}

const phone = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(asked.get("socket"))],
  uri: `sip:${number}@${asked.get("domain")}`,
  password: asked.get("password"),
  session_timers: true,
});

let session = null;

function follow(next) {
  session = next;
  session.on("progress", (e) => e.originator === "remote" && tell("ringing"));
  session.on("accepted", () => tell("answered"));
  session.on("failed", (e) => tell("failed", { cause: e.cause, by: e.originator }));
  session.on("ended", (e) => tell("ended", { cause: e.cause, by: e.originator }));
  session.on("hold", (e) => tell("hold", { by: e.originator }));
  session.on("unhold", (e) => tell("unhold", { by: e.originator }));
  const watch = (connection) =>
    connection.addEventListener("connectionstatechange", () =>
      tell("media", { state: connection.connectionState }),
    );
  if (session.connection) watch(session.connection);
  else session.on("peerconnection", (e) => watch(e.peerconnection));
}

phone.on("registered", () => tell("registered"));
phone.on("registrationFailed", (e) => tell("refused", { cause: e.cause }));
phone.on("disconnected", () => tell("disconnected"));
phone.on("newMessage", (e) => e.originator === "remote" && tell("message", { text: e.request.body }));
phone.on("newRTCSession", (e) => {
  follow(e.session);
  if (e.originator === "remote") {
    tell("incoming", { from: e.request.from.uri.user });
    if (asked.get("answers")) e.session.answer({ mediaConstraints: { audio: true, video: false } });
  }
});

// A session takes no new offer before the last one's answer has come to it: the other page may know
// of the hold before this one has its 200.
function patiently(act, times = 200) {
  if (!act() && times > 0) setTimeout(() => patiently(act, times - 1), 50);
}

const doing = {
  call: (to) => phone.call(to, { mediaConstraints: { audio: true, video: false } }),
  answer: () => session.answer({ mediaConstraints: { audio: true, video: false } }),
  hangup: () => session.terminate(),
  hold: () => patiently(() => session.hold()),
  unhold: () => patiently(() => session.unhold()),
  message: (to) => phone.sendMessage(to, "from a page"),
};

async function obey() {
  for (;;) {
    const answer = await fetch(`/next?phone=${number}`);
    if (answer.status === 200) {
      const [verb, argument] = (await answer.text()).split(" ");
      try {
        doing[verb](argument);
      } catch (error) {
        tell("error", { text: String(error) });
      }
    }
  }
}

phone.start();
obey();
