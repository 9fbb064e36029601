// What the host adds to nodes and its types leave out, as far as the editor uses it.

type DOMWidget = Widget & { value: string; onRemove?: () => void; serializeValue?: () => unknown };

type EditorNode = GraphNode & {
    addDOMWidget(name: string, type: string, element: HTMLElement, options: Record<string, unknown>): DOMWidget;
    /** With what the node shows of a run. */
    onExecuted?: (output: { background?: { filename: string; subfolder: string; type: string }[] }) => void;
};
