// Java's own HttpClient as it is by default: it offers h2c with its first POST. Arguments: URL, token, body, requests.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class Client {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < Integer.parseInt(arguments[3]); i++) {
            HttpRequest.BodyPublisher body = HttpRequest.BodyPublishers.ofString(arguments[2]);
            if (i % 2 == 1) { // of unknown length: in chunks
                byte[] raw = arguments[2].getBytes("UTF-8");
                body = HttpRequest.BodyPublishers.ofInputStream(() -> new java.io.ByteArrayInputStream(raw));
            }
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0])).header("Authorization", "Bearer " + arguments[1])
                .header("Content-Type", "application/json").expectContinue(i % 3 == 2).POST(body).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
