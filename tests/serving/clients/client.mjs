// Node's fetch as it is by default, with bodies of known and of unknown length. Arguments: URL, token, body, requests.
const [url, token, body, count] = process.argv.slice(2);
for (let i = 0; i < Number(count); i++) {
  const sent = i % 2 ? new Blob([body]).stream() : body;
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
  const answer = await fetch(url, { method: "POST", headers, body: sent, duplex: "half" });
  console.log(answer.status, await answer.text());
}
